"""The vocabulary of axis words, and one check that speaks it.

    batch          pictures                      points      clicks of one object
    objects        things to segment             tokens      rows of a token matrix
    rows           batch x objects, picture by   channels    features of a pixel or token
                   picture: one decoder pass     levels      steps of the feature pyramid
    masks          candidates of one object      frames      pictures of a video
    height, width  pixels, rows first

Maps are ``(batch, channels, height, width)``, tokens ``(batch, tokens, channels)``, sizes ``(height, width)``,
points ``(x, y)``.
"""


def check_shape(name: str, shape, legend: str) -> None:
    """Raises when a shape does not follow its legend.

    Args:
        name: how the caller knows the value, as in the message.
        shape: the sizes found, or anything with a ``shape``.
        legend: one word per axis, numbers where a size is fixed: ``"objects points 2"``.

    Raises:
        ValueError: another number of axes, or another size where the legend has a number.
    """
    sizes = tuple(getattr(shape, "shape", shape))
    words = legend.split()
    fits = len(sizes) == len(words) and all(
        not word.isdigit() or size == int(word) for size, word in zip(sizes, words, strict=True)
    )
    if not fits:
        raise ValueError(f"`{name}` must be ({', '.join(words)}), got {sizes}")
