/* SPDX-License-Identifier: BSD-3-Clause */
/** Inside of room perceptron: networks, their scratch memory, products. */
#pragma once

#include "syzygy/numbers.h"
#include "syzygy/perceptron.h"

enum {
  PERCEPTRON_LAYERS = SYZ_PERCEPTRON_HIDDEN + 1,
  PERCEPTRON_LANES = 8, /* widths of layers are rounded up to whole vectors; what is added stays zero */
  PERCEPTRON_BLOCK = 256
};

struct syz_perceptron {
  syz_perceptron_options options;
  int layers;
  syz_perceptron_layer layer[PERCEPTRON_LAYERS];
  int64_t parameters;
  int64_t columns; /* of labels: D, or 1 of classes */
  float **block;   /* [M] */
  float *mean, *factor;
  double *label_mean, *label_scale;
};

/** Activations of up to `rows` rows. */
typedef struct passage {
  int64_t rows;
  float *x;                        /* [rows, F] standardised */
  float *value[PERCEPTRON_LAYERS]; /* [rows, stride] output of each layer */
  float *slope[2];                 /* [rows, widest] gradients of two neighbouring layers */
  float *transposed;               /* weights of a layer as [outputs, inputs] */
  int64_t *id, *index;             /* [rows] */
} passage;

syz_status passage_create(const syz_perceptron *p, int64_t rows, passage *w);
void passage_destroy(passage *w);

/** Rows index [n] of r through a network; epoch -1: without dropout. */
void passage_forward(const syz_perceptron *p, const float *weight, int member, int64_t epoch,
                     const syz_perceptron_rows *r, const int64_t *index, int64_t n, passage *w);
/** Sum of the losses of the rows that passed last, and *count: what it is to be divided by. `has_gradient`: *slope[0]
 * is the gradient of their mean. */
double passage_loss(const syz_perceptron *p, const syz_perceptron_rows *r, const int64_t *index, int64_t n,
                    bool has_gradient, passage *w, int64_t *count);
/** Gradient [parameters], written, from what passage_loss left. */
void passage_backward(const syz_perceptron *p, const float *weight, int64_t n, bool has_dropout, passage *w,
                      float *gradient);
/** Probabilities p [n] of scores z [n]. */
void softmax_of(int64_t n, const float *z, double *p);

/** c [m, n] += a [m, k] b [k, n]: n is a multiple of PERCEPTRON_LANES; element (i, j) of a at i a_row + j a_column. */
typedef struct product {
  int64_t m, n, k;
  const float *a;
  int64_t a_row, a_column;
  const float *b;
  int64_t b_row;
  float *c;
  int64_t c_row;
} product;
void product_add(const product *p);
