/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The arithmetic of one member: networks and splines, forward, backward and inverse, in float32 and float64 from the
 * same text (engine_f32.c, engine_f64.c include engine_*.h with another REAL).
 *
 * Spline (Durkan et al. 2019, arXiv:1906.04032): K widths w = 1e-3 + (1 - 1e-3 K) softmax, times 2 B; heights alike;
 * inner slopes 1e-3 + softplus; end slopes given. In the bin that holds y, t = (y - x_k)/w_k, m = h_k/w_k,
 * u = t (1 - t), D = m + (d_k + d_k+1 - 2 m) u:
 *   z = y_k + h_k (m t^2 + d_k u) / D,  log z' = 2 ln m + ln(d_k+1 t^2 + 2 m u + d_k (1 - t)^2) - 2 ln D.
 * Outside of [-B, B] it is the identity. Labels go through it towards the base normals: z = F(y), log q = log N(z) +
 * sum log F'. A draw goes back by the root of a quadratic.
 *
 * Objects are the vector axis: all arrays are [tile][row][FLOW_TILE], so every loop over objects has a fixed length and
 * every object is computed by the same instructions wherever it stands. Objects that fill a tile up have weight 0.
 * Order of labels is not changed in memory: layer l reads position p from row flow_row(l, p).
 *
 * For draws and grids of one object ("shared context") the product of the first linear layer with the context is
 * computed once (`prepare`), 128 of its 132 columns in a usual case; a network that sees no label is computed once.
 */
#pragma once

#include "syzygy/flow.h"

enum {
  FLOW_TILE = 16,
  FLOW_TILES = 8,
  FLOW_BLOCK = FLOW_TILE * FLOW_TILES, /* most objects of a call */
  FLOW_LINEARS = SYZ_FLOW_HIDDEN_LAYERS + 1
};

/** A network of a layer: positions [first, first + outputs) from the context and positions [0, inputs). */
typedef struct flow_net {
  int inputs, first, outputs;
  int64_t weight[FLOW_LINEARS], bias[FLOW_LINEARS]; /* places in the parameters of a layer */
} flow_net;

typedef struct flow_layout {
  syz_flow_shape shape;
  int nets;
  flow_net net[SYZ_FLOW_LABELS];
  int64_t layer_size, size; /* parameters of a layer, of the member */
} flow_layout;

/** Rows and columns of linear layer j of a network. */
static inline int64_t flow_linear_rows(const flow_layout *y, const flow_net *n, int j)
{
  return j < y->shape.hidden_layers ? y->shape.hidden : (int64_t)n->outputs * (3 * y->shape.bins - 1);
}
static inline int64_t flow_linear_columns(const flow_layout *y, const flow_net *n, int j)
{
  return j ? y->shape.hidden : (int64_t)y->shape.context + n->inputs;
}
static inline bool flow_reverses(const syz_flow_shape *s, int layer) { return !s->keeps_order && layer % 2; }
static inline int flow_row(const syz_flow_shape *s, int layer, int position)
{
  return flow_reverses(s, layer) ? s->labels - 1 - position : position;
}

typedef struct flow_adam {
  double lr, beta1, beta2, eps, scale; /* scale: of the gradient */
  int64_t step;                        /* from 1 */
} flow_adam;

/** Functions of one precision. `work` is scratch for one thread, made for a layout as large as any that it is used
 * with. Numbers of a member are REAL arrays; what goes in and out is float64. */
typedef struct flow_engine {
  size_t real; /* bytes of a number */
  syz_status (*create)(const flow_layout *largest, bool trains, void **work);
  void (*destroy)(void **work);
  /* Context rows index[i] (NULL: i) of [., C], scaled; from here on each object has its own. */
  void (*load_context)(void *work, const flow_layout *y, int n, const float *context, const int64_t *index,
                       const double *mean, const double *factor);
  /* For shared contexts: the first products of the n objects loaded, and then which one counts. */
  void (*prepare)(void *work, const flow_layout *y, const void *parameters, int n);
  void (*share)(void *work, const flow_layout *y, int object);
  /* s [n, D] -> z, log_slope [n, D]: base normals, and log F' of each label through all layers. */
  void (*forward)(void *work, const flow_layout *y, const void *parameters, int n, const double *s, double *z,
                  double *log_slope);
  void (*inverse)(void *work, const flow_layout *y, const void *parameters, int n, const double *z, double *s);
  /* After forward with a work that trains: gradient [size] +=; ds [n, D], dcontext [n, C] = unless NULL. */
  void (*backward)(void *work, const flow_layout *y, const void *parameters, int n, const double *weight,
                   void *gradient, double *ds, double *dcontext);
  double (*sum_of_squares)(const void *x, int64_t n);
  void (*adam)(const flow_adam *o, void *w, void *m, void *v, const void *g, int64_t n);
} flow_engine;
extern const flow_engine flow_engine_f32, flow_engine_f64;
