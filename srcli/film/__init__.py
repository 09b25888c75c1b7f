"""Films: frames in and out through ffmpeg, segment by segment, everything else copied."""
