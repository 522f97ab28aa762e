/* SPDX-License-Identifier: BSD-3-Clause */
/** Keys that several training commands share. The defaults here are those of `align`; the presets in another command's
 * row replace them. */
#include "training.h"

enum {
  ALL = SYZ_USED_WHERE(SYZ_DOES_TRAIN),
  VALIDATING = SYZ_USED_WHERE(SYZ_LIMITS_VALIDATION),
  FLIPPING = SYZ_USED_WHERE(SYZ_FLIPS_IMAGES)
};

const syz_key syz_training_keys[] = {
    {"reproducible", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, ALL,
     "Form sums in an order that the global batch fixes: the same bits on any number of ranks. Cost: a rank with "
     "several "
     "leaves runs forward passes twice (up to a third more time; not pretrain-spectrum), stores log2(leaves) more "
     "blocks "
     "of gradients, and sends gradients only after its last leaf."},
    {"reproducible_leaves", SYZ_KEY_INT, "8", "", 1, 4096, NULL, ALL,
     "Parts of the global batch that are summed separately: a power of two. A reproducible run can use at most this "
     "many "
     "ranks, and its result depends on this number."},
    {"train.steps", SYZ_KEY_INT, "10000", "", 1, 4.0e9, NULL, ALL,
     "Optimiser steps; a finished run continues when this is raised."},
    {"train.global_batch", SYZ_KEY_INT, "256", "objects", 1, 1048576, NULL, ALL,
     "Objects per step on all ranks together; the result depends on it, never on the number of ranks."},
    {"train.micro_batch", SYZ_KEY_INT, "0", "objects per rank", 0, 65536, NULL, ALL,
     "Objects per pass; a rank with more of the batch runs several passes. 0: align 32, or 256 when only heads run; "
     "pretrain-spectrum 16; pretrain-image all in one."},
    {"train.recompute", SYZ_KEY_INT, "0", "blocks", 0, 1024, NULL, ALL,
     "Number of first blocks of each tower that store no activations and are recomputed in the backward pass: less "
     "memory, up to a third more time; 1024: all."},
    {"train.lr", SYZ_KEY_REAL, "1.0e-4", "", 0, 10, NULL, ALL,
     "Learning rate after the warm-up; pretrain-image, not given: 2e-4 sqrt(train.global_batch / 1024)."},
    {"train.lr_min", SYZ_KEY_REAL, "2.0e-7", "", 0, 10, NULL, ALL,
     "Learning rate at the end of the cosine; not given: train.lr / 500 (align), train.lr / 100 (pretrain-spectrum), "
     "1e-6 but at most train.lr (pretrain-image)."},
    {"train.warmup_steps", SYZ_KEY_INT, "1000", "steps", 0, 4.0e9, NULL, ALL,
     "Linear from 0 to lr over these steps; not given: the default, or a tenth of train.steps where that is less."},
    {"train.weight_decay", SYZ_KEY_REAL, "0.05", "", 0, 10, NULL, ALL,
     "Decoupled weight decay, as published: on all parameters; in pretrain-image not on biases, norms and LayerScale."},
    {"train.weight_decay_end", SYZ_KEY_REAL, "0.05", "", 0, 10, NULL, ALL,
     "Weight decay at the end, reached along half a cosine; not given: train.weight_decay, but 0.01 in "
     "pretrain-image."},
    {"train.beta1", SYZ_KEY_REAL, "0.9", "", 0, 0.999999, NULL, ALL, "AdamW: decay of the first moment."},
    {"train.beta2", SYZ_KEY_REAL, "0.999", "", 0, 0.99999999, NULL, ALL, "AdamW: decay of the second moment."},
    {"train.eps", SYZ_KEY_REAL, "1.0e-8", "", 1e-30, 1, NULL, ALL, "AdamW: added to the root of the second moment."},
    {"train.clip_grad_norm", SYZ_KEY_REAL, "1.0", "", 0, 1e30, NULL, ALL,
     "The global gradient is clipped to this norm, in pretrain-image separately for backbone and heads; 0: off."},
    {"train.validate_interval", SYZ_KEY_INT, "500", "steps", 0, 4.0e9, NULL, ALL,
     "Steps between validations on held-out objects; 0: only at the end."},
    {"train.validate_objects", SYZ_KEY_INT, "1024", "objects", 0, 1048576, NULL, VALIDATING,
     "Largest number of objects of the test split that are used; 0: no validation."},
    {"train.time_limit_s", SYZ_KEY_REAL, "0", "s", 0, 1e9, NULL, ALL,
     "Save and end with exit code 75 before the program has run this long; 0: no limit."},
    {"train.recover", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, ALL,
     "Also continue from a checkpoint whose manifest.json is lost or damaged, when all checksums in its state.h5 hold; "
     "the manifest is written again."},
    {"train.read_ahead", SYZ_KEY_INT, "2", "batches", 1, 64, NULL, ALL, "Batches read ahead of the step."},
    {"run.verify_every", SYZ_KEY_INT, "50", "steps", 0, 4.0e9, NULL, ALL,
     "Steps between comparisons of weights over nodes and ranks. The optimiser's changes are compared in every step, "
     "and "
     "steps that jump (run.verify_jump) are computed again. After damage the run returns to its last checkpoint. 0: "
     "nothing is verified."},
    {"run.verify_jump", SYZ_KEY_REAL, "6", "mean deviations", 0, 1e6, NULL, ALL,
     "A step whose loss or gradient norm is farther than this from the value extrapolated from recent steps is "
     "computed "
     "again, and its bits are compared; 0: every step, at twice the time."},
    {"augment.flips", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, FLIPPING,
     "Flip images (crops) at random in both directions."},
    {"augment.quarter_turns", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, FLIPPING,
     "Turn images (crops) by a random multiple of 90 degrees."},
    {"parallel.ranks_per_node", SYZ_KEY_INT, "0", "ranks", 0, 65536, NULL, ALL,
     "Ranks that share memory for gradient sums and weights; 0: all of a machine. Fewer: one group per NUMA domain."},
    {"parallel.reduction", SYZ_KEY_CHOICE, "float32", "", 0, 0, "float32|bfloat16", ALL,
     "Type of gradients sent between nodes; their sums are always float32."},
    {"parallel.tensor", SYZ_KEY_INT, "1", "ranks", 1, 64, NULL, ALL,
     "Number of neighbouring ranks among which the heads and MLP columns of each trained block are split; it must "
     "divide "
     "the ranks and the heads of each tower. Frozen towers of align run without it."},
    {"output.checkpoint_interval_s", SYZ_KEY_REAL, "1800", "s", 0, 1e9, NULL, ALL,
     "Time between checkpoints; 0: not by time."},
    {"output.checkpoint_interval_steps", SYZ_KEY_INT, "0", "steps", 0, 4.0e9, NULL, ALL,
     "Steps between checkpoints; 0: not by steps."},
    {"output.timing_from_step", SYZ_KEY_INT, "0", "step", 0, 4.0e9, NULL, ALL,
     "First step counted in the time table and in timing.json; 0: count from the start of the program."},
    {"plan.ranks", SYZ_KEY_INT, "0", "ranks", 0, 1.0e7, NULL, ALL,
     "--dry-run plans the memory of a run on this many ranks; 0: as started."},
    {"plan.ranks_per_node", SYZ_KEY_INT, "0", "ranks", 0, 65536, NULL, ALL,
     "Number of the planned ranks per node; 0: as started."},
    {"plan.memory_gib", SYZ_KEY_REAL, "0", "GiB per node", 0, 1e6, NULL, ALL,
     "--dry-run prints the largest train.global_batch that fits into this memory; 0: the free memory of this node."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};
