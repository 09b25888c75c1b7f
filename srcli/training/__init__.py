"""Training: photos and a recipe in, a safetensors file out.

``config`` what to do, ``packing`` photos on disk -> packed pixels, ``data`` packed pixels -> random
crops, ``networks`` names -> networks, ``module_swaps`` the same networks in a form that compiles
well, ``initialise`` and ``first_weights`` where weights begin, ``losses``, ``schedule``, ``step``
one step on the device, ``loop`` the run, ``checkpoint`` the run on disk, ``validate`` scores,
``report`` what stays of it. Importing this package imports nothing.
"""
