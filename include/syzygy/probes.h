/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * probes: what embeddings know of labels. Several sources of features side by side, on the same objects and the same
 * split by place on the sky, read by nearest neighbours, linear heads, small networks and flows; every figure with its
 * error.
 *
 * A source is what a head reads of an object: "image", "spectrum" (the embeddings of the files), "both" (the two beside
 * each other), "photometry" (a few numbers: the baseline), or another embedding file, FILE or FILE:image or
 * FILE:spectrum, whose objects are found by object_id. Only objects that every source has are used.
 *
 * The work has two steps, so that the first can check everything before the run folder is taken. Options are borrowed
 * until the work is closed, and so are the texts and lists in them.
 */
#pragma once

#include "syzygy/analysis.h"
#include "syzygy/flow.h"
#include "syzygy/labels.h"
#include "syzygy/perceptron.h"

enum { SYZ_PROBE_SOURCES = 8, SYZ_PROBE_LABELS = 32 };

/** Objects, what is read of them and what is to be predicted. */
typedef struct syz_probe_data {
  syz_texts embeddings;      /**< embedding files, or folders with an embedding.h5 */
  syz_texts test_embeddings; /**< files of the test side (sides.rule SYZ_SIDES_BY_FILE) */
  syz_texts sources;         /**< at most SYZ_PROBE_SOURCES */
  syz_texts labels, classes; /**< formulas of numbers, and of classes 0, 1, ..; together at most SYZ_PROBE_LABELS */
  syz_texts photometry;      /**< formulas: the numbers of the source "photometry" */
  const char *cut;           /**< formula that is true for the objects that take part; "": all */
  /** Tables of labels beside those of the embedding files, with the same columns; an object's row is in the first table
   * that has it. Part of each file, columns; "": the usual names. */
  syz_texts tables;
  const char *table_part, *table_id, *table_ra, *table_dec;
  double radius_arcsec; /**< join by position within it; 0: by identifier */
  syz_sides_options sides;
  const char *sides_column; /**< formula of SYZ_SIDES_BY_COLUMN: 0 train, 1 test, NaN neither */
} syz_probe_data;

/** Nearest neighbours: k is chosen by cross-validation where several are given. */
typedef struct syz_knn_probe {
  syz_knn_options how;
} syz_knn_probe;

/** Ridge regression and softmax regression: the penalty is chosen by cross-validation where several are given. */
typedef struct syz_linear_probe {
  int n_penalties;
  double penalty[SYZ_PENALTIES];
  int64_t iterations; /**< of softmax */
} syz_linear_probe;

/**
 * Ensembles of small networks, averaged: one for all numbers together, whose unknown labels do not count, and one for
 * each set of classes. A member stops early and keeps the weights that are best on the validation objects.
 *
 * AstroCLIP's protocol has its own sizes and training instead of these options: one network for each number (64-64; one
 * layer of 32 for redshift from the source "image"; dropout 0.1, batches of 64, 10 epochs) and for each set of classes
 * (256-256-256, dropout 0.2, batches of 256, 25 epochs, features as they are, softmax twice), the last weights, no
 * ensemble, no validation objects. Published is one network for four properties together.
 */
typedef struct syz_mlp_probe {
  int n_hidden; /**< hidden layers, 0 .. SYZ_PERCEPTRON_HIDDEN */
  int64_t hidden[SYZ_PERCEPTRON_HIDDEN];
  double dropout, rate;
  int epochs, batch, patience;
} syz_mlp_probe;

/** Joint posteriors of all numbers together. */
typedef struct syz_flow_probe {
  syz_flow_kind kind;
  int epochs;
  int64_t draws;                 /**< of each test object, >= 2 */
  syz_texts positive, fractions; /**< labels that are modelled in their logarithm, and (0, 1) in their logit */
  bool recalibrates;
  int64_t cells;   /**< of the grid on which marginal densities are written; 0: none, -1: 200 unless that is much */
  int64_t samples; /**< draws of each test object that are written */
} syz_flow_probe;

/** Curves over few labels of classes 0 and 1. */
enum { SYZ_FEW_SIZES = 32 };
typedef struct syz_few_probe {
  int n_sizes;
  int64_t size[SYZ_FEW_SIZES]; /**< labelled objects */
  int64_t draws;               /**< of each size */
  double penalty;              /**< of the linear head, as in syz_softmax_options.l2 */
  double contamination;        /**< false-positive rate at which completeness is read */
} syz_few_probe;

/** Strange objects: by a density after principal components, and by the distance to neighbours. */
typedef struct syz_outlier_probe {
  int64_t components;  /**< of the density, 1 .. SYZ_FLOW_LABELS */
  int64_t neighbours;  /**< whose mean distance counts */
  int64_t rows;        /**< of outliers.csv */
  int64_t next;        /**< objects that are put forward to be rated */
  const char *ratings; /**< table of object_id and rating, 0 .. 5; "": none */
} syz_outlier_probe;

enum { SYZ_PROBE_METHODS = 8 };
typedef struct syz_probes_options {
  syz_probe_data data;
  syz_texts methods; /**< by their names */
  syz_knn_probe knn;
  syz_linear_probe linear;
  syz_mlp_probe mlp;
  syz_flow_probe flow;
  syz_few_probe few;
  syz_outlier_probe outliers;
  bool is_published;       /**< mlp, flow: AstroCLIP's recipes and quirks */
  int members;             /**< of the ensembles of mlp and flow */
  double validation_share; /**< of the training objects: early stop, recalibration */
  int folds;               /**< of cross-validations, 2 .. SYZ_FOLDS */
  int64_t draws;           /**< of the bootstrap */
  uint64_t seed;           /**< of folds, networks, flows, bootstrap */
  syz_compute_options compute;
} syz_probes_options;

typedef struct syz_probes syz_probes;
/** Read objects, labels and features, and say what there is to do. SYZ_ERR_INPUT, SYZ_ERR_DATA, SYZ_ERR_MEMORY.
 * Collective; agreed. */
syz_status syz_probes_open(const syz_run *run, const syz_probes_options *options, syz_probes **out);
/** Fit on the training side, judge on the test side, print a table, and write <folder>/probe.json, and predictions.h5
 * where there are labels, outliers.h5 and two lists where strange objects are wanted. Once. Collective; agreed. */
syz_status syz_probes_write(syz_probes *p);
void syz_probes_close(syz_probes **p);
