"""What is measured of a finished generator, and with what."""

from ppcd.metrics.classifier import Classifier, agreement, train_or_load_classifier
from ppcd.metrics.complexity import CONVENTION, Complexity, block_params, complexity, count_params
from ppcd.metrics.diversity import Diversity
from ppcd.metrics.features import BACKBONES, Backbone, Features, get_backbone
from ppcd.metrics.fidelity import reference_statistics
from ppcd.metrics.runtime import seconds_per_batch
from ppcd.metrics.statistics_files import StatisticsFile, read_statistics

__all__ = [
    "BACKBONES",
    "CONVENTION",
    "Backbone",
    "Classifier",
    "Complexity",
    "Diversity",
    "Features",
    "StatisticsFile",
    "agreement",
    "block_params",
    "complexity",
    "count_params",
    "get_backbone",
    "read_statistics",
    "reference_statistics",
    "seconds_per_batch",
    "train_or_load_classifier",
]
