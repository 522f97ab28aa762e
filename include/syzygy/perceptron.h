/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * perceptron: small networks of linear layers, ReLU and dropout that predict numbers or classes from rows of features;
 * ensembles of them; their training.
 *
 * Axes: N objects, F inputs, D outputs, M members. Features are float32, labels float64 in their own units; both are
 * standardised inside. Nothing is collective but what says so; no result depends on ranks, threads or the place of an
 * object in its array, and batches and dropout go by the identifiers of the rows.
 */
#pragma once

#include "syzygy/base.h"
#include "syzygy/comm.h"

enum { SYZ_PERCEPTRON_HIDDEN = 8, SYZ_PERCEPTRON_WIDTH = 65536, SYZ_PERCEPTRON_MOST_CLASSES = 1024 };

typedef enum syz_perceptron_loss {
  SYZ_PERCEPTRON_SQUARES, /**< mean square of standardised labels; labels that are NaN are unknown and do not count */
  SYZ_PERCEPTRON_CLASSES, /**< cross-entropy; one label, the class 0 .. D - 1 */
  /** Quirk of the published classifier: the softmax of the network's softmax enters the cross-entropy. */
  SYZ_PERCEPTRON_CLASSES_TWICE
} syz_perceptron_loss;

/**
 * Hidden layers are Linear, ReLU, Dropout (the same function as Linear, Dropout, ReLU); the last one is Linear.
 */
typedef struct syz_perceptron_options {
  syz_perceptron_loss loss;
  int64_t inputs, outputs;
  int n_hidden; /**< 0 .. SYZ_PERCEPTRON_HIDDEN */
  int64_t hidden[SYZ_PERCEPTRON_HIDDEN];
  double dropout; /**< share of hidden numbers that is dropped in training, 0 .. below 1 */
  int members;
  int threads; /**< members are trained on so many at once */
  uint64_t seed;
} syz_perceptron_options;

typedef struct syz_perceptron syz_perceptron;
/** Starting weights and biases are uniform within 1 / sqrt(inputs of the layer), as PyTorch's. Features and labels are
 * not scaled. SYZ_ERR_INPUT, SYZ_ERR_MEMORY. */
syz_status syz_perceptron_create(const syz_perceptron_options *o, syz_perceptron **out);
void syz_perceptron_destroy(syz_perceptron **p);

/** Rows to learn from: x [n, F]; y [n, D], or [n] classes; id [n]: what batches and dropout of a row are drawn by.
 * Borrowed. */
typedef struct syz_perceptron_rows {
  int64_t n;
  const float *x;
  const double *y;
  const int64_t *id;
} syz_perceptron_rows;

/** Standardise each column of features, and each label, by mean and deviation (divided by n) of these rows. Columns
 * that do not vary are only shifted. */
void syz_perceptron_scale_inputs(syz_perceptron *p, const syz_perceptron_rows *r);
void syz_perceptron_scale_labels(syz_perceptron *p, const syz_perceptron_rows *r);

/**
 * Mean of the members' outputs: y [n, D] in label units, or probabilities of classes. SYZ_ERR_MEMORY.
 */
syz_status syz_perceptron_predict(const syz_perceptron *p, int64_t n, const float *x, double *y);

/* ---------------------------------------------------------------- weights */

/** A layer of a member. Weights are stored [inputs, stride]: element (i, o) of the inputs and outputs of the layer at
 * weight + i stride + o. Elements beyond the outputs are zero and stay so. */
typedef struct syz_perceptron_layer {
  int64_t inputs, outputs, stride;
  int64_t weight, bias; /**< where they begin in the block of parameters */
} syz_perceptron_layer;
int syz_perceptron_layers(const syz_perceptron *p);
syz_perceptron_layer syz_perceptron_layer_get(const syz_perceptron *p, int layer);
/** The block of a member; to be read and written. */
int64_t syz_perceptron_parameters(const syz_perceptron *p);
float *syz_perceptron_block(syz_perceptron *p, int member);
/** Loss of these rows as one batch of epoch `epoch`, and its gradient [parameters] (written). Epoch -1: without
 * dropout. The dropout of hidden layer l is syz_dropout with the member's seed, the epoch, the row's id and l.
 * SYZ_ERR_MEMORY. */
syz_status syz_perceptron_gradient(const syz_perceptron *p, int member, int64_t epoch, const syz_perceptron_rows *r,
                                   double *loss, float *gradient);
uint64_t syz_perceptron_seed(const syz_perceptron *p, int member);

/* --------------------------------------------------------------- training */

/** Adam (0.9, 0.999, 1e-8) on batches of rows in an order that is drawn for each member and epoch. */
typedef struct syz_perceptron_training_options {
  int epochs, batch;
  double rate;
  /** Epochs without a lower validation loss after which a member stops. The network has the weights of the lowest one;
   * without validation rows it has the last ones. */
  int patience;
} syz_perceptron_training_options;

typedef struct syz_perceptron_training syz_perceptron_training;
/**
 * Rows are the same on all ranks, finite and borrowed until the end; valid may be NULL. Scales are set before.
 *
 * SYZ_ERR_INPUT, SYZ_ERR_DATA, SYZ_ERR_MEMORY. Collective; agreed.
 */
syz_status syz_perceptron_training_create(syz_comm *c, syz_perceptron *p, const syz_perceptron_training_options *o,
                                          const syz_perceptron_rows *train, const syz_perceptron_rows *valid,
                                          syz_perceptron_training **out);
void syz_perceptron_training_destroy(syz_perceptron_training **t);
/**
 * At most so many epochs of each member that is not done; member m on rank m mod size. *is_done: all are. The members
 * of `p` are up to date on all ranks afterwards. SYZ_ERR_NUMERIC names a member whose loss is not finite: it is done
 * and keeps its last good weights, and the others can go on. Collective; agreed.
 */
syz_status syz_perceptron_train(syz_perceptron_training *t, int epochs, bool *is_done);

/** Rows in the order in which an epoch takes them, order [n]. SYZ_ERR_MEMORY. */
syz_status syz_perceptron_order(const syz_perceptron *p, int member, int64_t epoch, int64_t n, const int64_t *id,
                                int64_t *order);

/** The state of a member: plain arrays, the same on all ranks between calls of syz_perceptron_train. Copied into
 * another training of the same options and rows, they continue there bit for bit on any number of ranks. */
typedef struct syz_perceptron_array {
  const char *name;
  char type; /**< 'f' float32, 'd' float64, 'i' int64 */
  int64_t n;
  void *data;
} syz_perceptron_array;
enum { SYZ_PERCEPTRON_ARRAYS = 7 };
syz_perceptron_array syz_perceptron_state(syz_perceptron_training *t, int member, int i);

typedef struct syz_perceptron_progress {
  int64_t epochs, steps;
  int64_t best_epoch; /**< from 0, -1: none yet */
  bool is_done, has_diverged;
  const double *train_loss, *valid_loss; /**< [epochs] */
} syz_perceptron_progress;
syz_perceptron_progress syz_perceptron_progress_of(const syz_perceptron_training *t, int member);
