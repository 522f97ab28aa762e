/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * app: the one room that parses a command line. main.c starts MPI, reads the input and calls a command; each command is
 * one file
 * `<name>.c` that defines `syz_command_<name>` and its own keys `syz_<name>_keys`; keys shared by several commands are
 * in keys.c.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"
#include "syzygy/input.h"

/** The commands, in the order of --help: X(name, summary). An underscore is shown and read as a hyphen: pretrain_image
 * is `pretrain-image`. */
#define SYZ_COMMANDS(X)                                                                                                \
  X(simulate, "a synthetic survey with known physics, as shards or as files of a survey")                              \
  X(ingest, "survey files (DESI, SDSS, Legacy Surveys, AstroCLIP, Multimodal Universe) to shards")                     \
  X(pretrain_image, "DINOv2 on the image tower: self-distillation between crops, no labels")                           \
  X(pretrain_spectrum, "masked modelling on the spectrum tower: runs of it hidden and reconstructed")                  \
  X(align, "image and spectrum towers aligned in one space by InfoNCE over the global batch")                          \
  X(embed, "embeddings of a data set as HDF5 and as a FITS catalogue")                                                 \
  X(search, "nearest neighbours within and across modalities, retrieval figures")                                      \
  X(probe, "what frozen features know: linear heads on patches (dense)")                                               \
  X(analyse, "what features are made of: principal components of patches")                                             \
  X(report, "a run folder as one self-contained HTML page")                                                            \
  X(bench, "speed of every part against this machine's measured limit")                                                \
  X(info, "what a file is, its provenance, whether its checksums hold")

typedef enum syz_command_id {
#define SYZ_COMMAND_ENUM(name, summary) SYZ_COMMAND_##name,
  SYZ_COMMANDS(SYZ_COMMAND_ENUM)
#undef SYZ_COMMAND_ENUM
      SYZ_COMMAND_COUNT
} syz_command_id;

/** Bits for syz_key.commands. */
#define SYZ_USED_BY(name) (1u << SYZ_COMMAND_##name)

/** What a command gets. */
typedef struct syz_app {
  syz_comm *world;
  syz_input *input; /**< resolved; already written to <output.dir>/input.yaml for commands with a run folder */
  syz_command_id command;
  char command_name[32]; /**< as typed: "pretrain-image" */
  bool has_run_folder;   /**< set by syz_app_open_run_folder */
  char *input_yaml;      /**< see syz_app_input_yaml */
  char *input_before; /**< on rank 0: input.yaml of an earlier run in this folder; put back when this one is refused */
  bool is_dry_run;    /**< check, print the plan, write nothing */
  int n_arguments;    /**< positional arguments after the input file: only `info` and `report` take any */
  char **arguments;
  syz_timing timing; /**< phases; main.c prints the table and writes timing.json */
  syz_run run;       /**< of all this, what the rooms get that do the work */
} syz_app;

/** Each command: collective; returns the same status on every rank, SYZ_STOPPED for exit code 75. */
#define SYZ_COMMAND_DECLARE(name, summary)                                                                             \
  syz_status syz_command_##name(syz_app *app);                                                                         \
  extern const syz_key syz_##name##_keys[];
SYZ_COMMANDS(SYZ_COMMAND_DECLARE)
#undef SYZ_COMMAND_DECLARE

/**
 * Take the run folder `output.dir` (created if needed) for this run: a lock file `.lock` that is held by fcntl until
 * the program ends; SYZ_ERR_WRITE when another run holds it. Writes input.yaml and opens log.txt. Collective. Nothing
 * is done in a dry run.
 */
syz_status syz_app_open_run_folder(syz_app *app);

/** The provenance record every HDF5 file carries: created_by text and the resolved input. Borrowed; same on all ranks.
 */
const char *syz_app_created_by(void);
const char *syz_app_input_yaml(syz_app *app);
