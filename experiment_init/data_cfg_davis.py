"""Split lists of DAVIS: videos.

key -> combination -> patients; "*" serves every combination. "al" is the pool of active learning.
These are the lists of Vepa et al. 2024, complete: DAVIS 2016's 30 training videos, and its 20
validation videos as 5 and 15.
"""
# fmt: off

train = {"al": {"*": [
    "bear", "bmx-bumps", "boat", "breakdance-flare", "bus", "car-turn", "dance-jump", "dog-agility",
    "drift-turn", "elephant", "flamingo", "hike", "hockey", "horsejump-low", "kite-walk", "lucia",
    "mallard-fly", "mallard-water", "motocross-bumps", "motorbike", "paragliding", "rhino", "rollerblade",
    "scooter-gray", "soccerball", "stroller", "surf", "swing", "tennis", "train",
]}}

val = {"al": {"*": ["cows", "drift-straight", "motocross-jump", "camel", "soapbox"]}}

test = [
    "car-roundabout", "scooter-black", "car-shadow", "blackswan", "parkour", "breakdance", "dog", "horsejump-high",
    "bmx-trees", "libby", "kite-surf", "paragliding-launch", "goat", "drift-chicane", "dance-twirl",
]
