/* SPDX-License-Identifier: BSD-3-Clause */
/** Keys that several of the commands that train have. Their defaults are those of `align`; where another command has
 * others, the presets of its row say so. */
#include "training.h"

enum {
  ALL = SYZ_USED_WHERE(SYZ_DOES_TRAIN),
  VALIDATING = SYZ_USED_WHERE(SYZ_LIMITS_VALIDATION),
  FLIPPING = SYZ_USED_WHERE(SYZ_FLIPS_IMAGES)
};

const syz_key syz_training_keys[] = {
    {"reproducible", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, ALL,
     "Sums in an order that the global batch fixes: the same bits on any number of ranks. Price: a rank with several "
     "leaves runs forward passes twice (up to a third more time; not pretrain-spectrum), keeps log2(leaves) blocks of "
     "gradients more, and sends them when all are done."},
    {"reproducible_leaves", SYZ_KEY_INT, "8", "", 1, 4096, NULL, ALL,
     "Parts of the global batch that are summed apart: a power of two, the most ranks of a reproducible run, and part "
     "of its result."},
    {"train.steps", SYZ_KEY_INT, "10000", "", 1, 4.0e9, NULL, ALL,
     "Optimiser steps; a finished run goes on when this is raised."},
    {"train.global_batch", SYZ_KEY_INT, "256", "objects", 1, 1048576, NULL, ALL,
     "Objects a step on all ranks together; the result depends on it, never on the number of ranks."},
    {"train.micro_batch", SYZ_KEY_INT, "0", "objects a rank", 0, 65536, NULL, ALL,
     "Objects in one pass; a larger share runs in several. 0: align 32, or 256 when only heads run; pretrain-spectrum "
     "16; pretrain-image all at once."},
    {"train.recompute", SYZ_KEY_INT, "0", "blocks", 0, 1024, NULL, ALL,
     "First blocks of each tower that keep no activations and are run again in the backward pass: less memory, up to a "
     "third more time; 1024: all."},
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
     "Half a cosine leads from weight_decay to it; not given: constant, but 0.01 in pretrain-image."},
    {"train.beta1", SYZ_KEY_REAL, "0.9", "", 0, 0.999999, NULL, ALL, "AdamW: decay of the first moment."},
    {"train.beta2", SYZ_KEY_REAL, "0.999", "", 0, 0.99999999, NULL, ALL, "AdamW: decay of the second moment."},
    {"train.eps", SYZ_KEY_REAL, "1.0e-8", "", 1e-30, 1, NULL, ALL, "AdamW: added to the root of the second moment."},
    {"train.clip_grad_norm", SYZ_KEY_REAL, "1.0", "", 0, 1e30, NULL, ALL,
     "Largest norm of the global gradient; in pretrain-image of backbone and heads apart; 0: off."},
    {"train.validate_interval", SYZ_KEY_INT, "500", "steps", 0, 4.0e9, NULL, ALL,
     "Steps between validations on held-out objects; 0: only at the end."},
    {"train.validate_objects", SYZ_KEY_INT, "1024", "objects", 0, 1048576, NULL, VALIDATING,
     "At most so many of the test split are used; 0: no validation."},
    {"train.time_limit_s", SYZ_KEY_REAL, "0", "s", 0, 1e9, NULL, ALL,
     "Save and end with code 75 before the program has run this long; 0: no limit."},
    {"train.recover", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, ALL,
     "Also go on from a checkpoint whose manifest.json is lost or damaged, when all checksums in its state.h5 hold; "
     "the manifest is written again."},
    {"train.read_ahead", SYZ_KEY_INT, "2", "batches", 1, 64, NULL, ALL, "Batches read ahead of the step."},
    {"run.verify_every", SYZ_KEY_INT, "50", "steps", 0, 4.0e9, NULL, ALL,
     "Steps between comparisons of weights over nodes and ranks. What the optimiser changes is compared in every step, "
     "and steps that jump (run.verify_jump) are computed again. After damage the run goes back to its last checkpoint. "
     "0: nothing is verified."},
    {"run.verify_jump", SYZ_KEY_REAL, "6", "mean deviations", 0, 1e6, NULL, ALL,
     "A step whose loss or gradient norm is farther than this from what recent steps let expect is computed again, and "
     "its bits are compared; 0: every step, for twice the time."},
    {"augment.flips", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, FLIPPING,
     "Flip images (crops) at random in both directions."},
    {"augment.quarter_turns", SYZ_KEY_BOOL, "false", "", 0, 0, NULL, FLIPPING,
     "Turn images (crops) by a random multiple of 90 degrees."},
    {"parallel.ranks_per_node", SYZ_KEY_INT, "0", "ranks", 0, 65536, NULL, ALL,
     "Ranks that sum gradients and keep weights in common memory; 0: all of a machine. Fewer: for its NUMA domains."},
    {"parallel.reduction", SYZ_KEY_CHOICE, "float32", "", 0, 0, "float32|bfloat16", ALL,
     "How gradients travel between nodes; their sums are float32 always."},
    {"parallel.tensor", SYZ_KEY_INT, "1", "ranks", 1, 64, NULL, ALL,
     "Neighbouring ranks that share out heads and MLP columns of each block that trains; it must divide the ranks and "
     "the heads of each tower. Frozen towers of align run without it."},
    {"output.checkpoint_interval_s", SYZ_KEY_REAL, "1800", "s", 0, 1e9, NULL, ALL,
     "Time between checkpoints; 0: none by time."},
    {"output.checkpoint_interval_steps", SYZ_KEY_INT, "0", "steps", 0, 4.0e9, NULL, ALL,
     "Steps between checkpoints; 0: none by steps."},
    {"output.timing_from_step", SYZ_KEY_INT, "0", "step", 0, 4.0e9, NULL, ALL,
     "The table of where the time went, and timing.json, begin with this step; 0: with the start of the program."},
    {"plan.ranks", SYZ_KEY_INT, "0", "ranks", 0, 1.0e7, NULL, ALL,
     "--dry-run plans the memory of a run on so many ranks; 0: as started."},
    {"plan.ranks_per_node", SYZ_KEY_INT, "0", "ranks", 0, 65536, NULL, ALL,
     "How many of them share a node's memory; 0: as started."},
    {"plan.memory_gib", SYZ_KEY_REAL, "0", "GiB a node", 0, 1e6, NULL, ALL,
     "--dry-run names the largest train.global_batch that fits into so much; 0: what this node has left."},
    {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};
