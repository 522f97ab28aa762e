/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * app: the only room that parses a command line. main.c starts MPI, reads the input and calls a command; each command
 * is one file `<name>.c` that defines its own keys `syz_<name>_keys` and the function `syz_command_<name>`, or, when it
 * trains, the row `syz_<name>_method` (training.h). Keys that several commands share are in keys.c, training_keys.c,
 * features_keys.c and io_keys.c.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/input.h"

/** What a command does. This decides which shared keys it has, and what main.c allows. */
enum {
  SYZ_LOADS_DATA = 1 << 0,         /**< objects of data sets: data.path, data.bad_objects, data.verify, ... */
  SYZ_WRITES_HDF5 = 1 << 1,        /**< io.* */
  SYZ_HAS_IMAGE_TOWER = 1 << 2,    /**< model.file, model.image.*, compute.* */
  SYZ_HAS_SPECTRUM_TOWER = 1 << 3, /**< model.file, model.spectrum.*, compute.* */
  SYZ_HAS_EMBEDDING = 1 << 4,      /**< model.embedding.*: heads into the common space */
  SYZ_HAS_DINO_HEADS = 1 << 5,     /**< model.dino.* */
  SYZ_SAVES = 1 << 6,              /**< saves as it goes, or ends early on request; other commands are ended at once */
  SYZ_TAKES_TASK = 1 << 7,         /**< a word after the command is the value of <command>.task */
  SYZ_TAKES_FILES = 1 << 8,        /**< arguments other than an input file */
  SYZ_ALLOWS_INT8 = 1 << 9,        /**< compute.precision: int8 is allowed, or has no effect */
  SYZ_DOES_TRAIN = 1 << 10,        /**< has a syz_training_method (training.h): train.*, run.verify_*, plan.*, ... */
  SYZ_LIMITS_VALIDATION = 1 << 11, /**< train.validate_objects: limit on the held-out objects of a validation */
  SYZ_FLIPS_IMAGES = 1 << 12,      /**< augment.flips, augment.quarter_turns */
  SYZ_JUDGES_FEATURES = 1 << 13,   /**< validate.*: its validation uses a syz_judge */
  SYZ_TRAINS = SYZ_DOES_TRAIN | SYZ_LOADS_DATA | SYZ_WRITES_HDF5 | SYZ_SAVES
};

/** The commands that train: X(name, what it does, summary, with). Each has a row syz_<name>_method in app/<name>.c. */
#define SYZ_TRAINING_COMMANDS(X, with)                                                                                 \
  X(pretrain_image, SYZ_TRAINS | SYZ_HAS_IMAGE_TOWER | SYZ_HAS_DINO_HEADS | SYZ_FLIPS_IMAGES | SYZ_JUDGES_FEATURES,    \
    "DINOv2 on the image tower: self-distillation between crops, no labels", with)                                     \
  X(pretrain_spectrum, SYZ_TRAINS | SYZ_HAS_SPECTRUM_TOWER | SYZ_LIMITS_VALIDATION,                                    \
    "masked modelling on the spectrum tower: runs of it hidden and reconstructed", with)                               \
  X(align,                                                                                                             \
    SYZ_TRAINS | SYZ_HAS_IMAGE_TOWER | SYZ_HAS_SPECTRUM_TOWER | SYZ_HAS_EMBEDDING | SYZ_FLIPS_IMAGES |                 \
        SYZ_LIMITS_VALIDATION,                                                                                         \
    "image and spectrum towers aligned in one space by InfoNCE over the global batch", with)

/** All commands, in the order of --help. `with` is passed on to X. An underscore is shown and read as a hyphen:
 * pretrain_image is `pretrain-image`. */
#define SYZ_COMMANDS(X, with)                                                                                          \
  X(simulate, SYZ_WRITES_HDF5 | SYZ_SAVES, "a synthetic survey with known physics, as shards or as files of a survey", \
    with)                                                                                                              \
  X(ingest, SYZ_WRITES_HDF5 | SYZ_SAVES,                                                                               \
    "survey files (DESI, SDSS, Legacy Surveys, AstroCLIP, Multimodal Universe) to shards", with)                       \
  SYZ_TRAINING_COMMANDS(X, with)                                                                                       \
  X(embed,                                                                                                             \
    SYZ_LOADS_DATA | SYZ_WRITES_HDF5 | SYZ_HAS_IMAGE_TOWER | SYZ_HAS_SPECTRUM_TOWER | SYZ_HAS_EMBEDDING | SYZ_SAVES |  \
        SYZ_ALLOWS_INT8,                                                                                               \
    "embeddings of a data set as HDF5 and as a FITS catalogue", with)                                                  \
  X(search, SYZ_WRITES_HDF5 | SYZ_SAVES, "nearest neighbours within and across modalities, retrieval figures", with)   \
  X(probe, SYZ_LOADS_DATA | SYZ_WRITES_HDF5 | SYZ_HAS_IMAGE_TOWER | SYZ_TAKES_TASK,                                    \
    "what features know: labels from embeddings, posteriors, outliers; linear heads on patches", with)                 \
  X(analyse, SYZ_LOADS_DATA | SYZ_WRITES_HDF5 | SYZ_HAS_IMAGE_TOWER | SYZ_TAKES_TASK,                                  \
    "what features are made of: components of patches, correlations of two modalities, health of spaces", with)        \
  X(report, SYZ_TAKES_FILES | SYZ_ALLOWS_INT8, "a run folder as one self-contained HTML page", with)                   \
  X(bench,                                                                                                             \
    SYZ_WRITES_HDF5 | SYZ_HAS_IMAGE_TOWER | SYZ_HAS_SPECTRUM_TOWER | SYZ_HAS_EMBEDDING | SYZ_HAS_DINO_HEADS |          \
        SYZ_ALLOWS_INT8,                                                                                               \
    "speed of every part against this machine's measured limit", with)                                                 \
  X(info, SYZ_TAKES_FILES | SYZ_ALLOWS_INT8, "what a file is, where it came from, whether its checksums hold", with)

typedef enum syz_command_id {
#define SYZ_COMMAND_ENUM(name, does, summary, with) SYZ_COMMAND_##name,
  SYZ_COMMANDS(SYZ_COMMAND_ENUM, )
#undef SYZ_COMMAND_ENUM
      SYZ_COMMAND_COUNT
} syz_command_id;

/** Bits for syz_key.commands: one command, all of them, and those that do any of `what`. */
#define SYZ_USED_BY(name) (1u << SYZ_COMMAND_##name)
#define SYZ_USED_BY_ALL ((1u << SYZ_COMMAND_COUNT) - 1)
#define SYZ_USED_WHERE(what) (0u SYZ_COMMANDS(SYZ_USED_IF_IT, what))
#define SYZ_USED_IF_IT(name, does, summary, what) | ((does) & (what) ? SYZ_USED_BY(name) : 0u)
/** Whether a command does any of `what`. */
#define SYZ_COMMAND_DOES(command, what) ((SYZ_USED_WHERE(what) & (1u << (command))) != 0)

/** What main.c passes to a command. */
typedef struct syz_app {
  syz_comm *world;
  syz_input *input; /**< resolved; already written to <output.dir>/input.yaml for commands with a run folder */
  syz_command_id command;
  char command_name[32]; /**< as typed: "pretrain-image" */
  bool has_run_folder;   /**< set by syz_app_open_run_folder */
  char *input_yaml;      /**< see syz_app_input_yaml */
  char *input_before; /**< on rank 0: input.yaml of an earlier run in this folder; restored when this run is refused */
  bool is_dry_run;    /**< check and print the plan; write nothing except a training run's plan.json */
  int n_arguments;    /**< positional arguments after the input file: only `info` and `report` accept any */
  char **arguments;
  syz_timing timing; /**< phases; main.c prints the table and writes timing.json */
  syz_run run;       /**< the part of all this that the rooms doing the work receive */
} syz_app;

/** Each command: collective; returns the same status on every rank, SYZ_STOPPED for exit code 75. */
#define SYZ_COMMAND_DECLARE(name, does, summary, with)                                                                 \
  syz_status syz_command_##name(syz_app *app);                                                                         \
  extern const syz_key syz_##name##_keys[];
SYZ_COMMANDS(SYZ_COMMAND_DECLARE, )
#undef SYZ_COMMAND_DECLARE

/**
 * Lock the run folder `output.dir` (created if needed) for this run, by a file `.lock` that is held by fcntl until
 * the program ends; SYZ_ERR_WRITE when another run holds it. Writes input.yaml and opens log.txt. Collective. Nothing
 * is done in a dry run.
 */
syz_status syz_app_open_run_folder(syz_app *app);

/** The provenance record every HDF5 file carries: created_by text and the resolved input. Borrowed; same on all ranks.
 */
const char *syz_app_created_by(void);
const char *syz_app_input_yaml(syz_app *app);
