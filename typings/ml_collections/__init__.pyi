"""What type checkers need to know of ml_collections: fields of a ConfigDict may be anything."""

from ml_collections import config_dict as config_dict
from ml_collections import config_flags as config_flags
from ml_collections.config_dict import ConfigDict as ConfigDict
