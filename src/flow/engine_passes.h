/* SPDX-License-Identifier: BSD-3-Clause */
/** All layers of a member, forward, inverse and backward; Adam. Defines ENGINE, the table of engine.h. */
#pragma once

#include "engine_network.h"

static int tiles_of(int n) { return (n + FLOW_TILE - 1) / FLOW_TILE; }

static void load_context(void *work_, const flow_layout *y, int n, const float *context, const int64_t *index,
                         const double *mean, const double *factor)
{
  work *w = work_;
  const int64_t width = y->shape.context;
  w->shared = NULL;
  for (int i = 0; i < tiles_of(n) * FLOW_TILE; i++) {
    REAL *to = w->context + i / FLOW_TILE * width * FLOW_TILE + i % FLOW_TILE;
    const float *from = i < n ? context + (index ? index[i] : i) * width : NULL;
    for (int64_t c = 0; c < width; c++) to[c * FLOW_TILE] = from ? (REAL)(((double)from[c] - mean[c]) * factor[c]) : 0;
  }
}

static void prepare(void *work_, const flow_layout *y, const void *parameters, int n)
{
  work *w = work_;
  const int64_t hidden = y->shape.hidden, context = y->shape.context;
  for (int layer = 0; layer < y->shape.layers; layer++)
    for (int net = 0; net < y->nets; net++)
      for (int tile = 0; tile < tiles_of(n); tile++) {
        const REAL *p = (const REAL *)parameters + layer * y->layer_size;
        const flow_net *f = &y->net[net];
        const product first = {hidden, context, p + f->weight[0], context + f->inputs, 1, FLOW_TILE, FLOW_TILE};
        REAL *out = hidden_of(w, y, 0, 0, 0, 0);
        product_tile(&first, w->context + tile * context * FLOW_TILE, p + f->bias[0], out);
        for (int i = 0; i < FLOW_TILE && tile * FLOW_TILE + i < n; i++) {
          const int64_t at = ((tile * FLOW_TILE + i) * (int64_t)y->shape.layers + layer) * y->nets + net;
          for (int64_t r = 0; r < hidden; r++) w->prepared[at * hidden + r] = out[r * FLOW_TILE + i];
        }
      }
}

static void share(void *work_, const flow_layout *y, int object)
{
  work *w = work_;
  w->shared = w->prepared + object * (int64_t)y->shape.layers * y->nets * y->shape.hidden;
}

/* x [n, D] -> tiles, zeros behind; and back. */
static void put_labels(int labels, int n, const double *x, REAL *to)
{
  for (int i = 0; i < tiles_of(n) * FLOW_TILE; i++)
    for (int d = 0; d < labels; d++)
      to[(i / FLOW_TILE * labels + d) * FLOW_TILE + i % FLOW_TILE] = i < n ? (REAL)x[i * labels + d] : 0;
}
static void take_labels(int64_t labels, int n, const REAL *from, double *x)
{
  for (int i = 0; i < n; i++)
    for (int64_t d = 0; d < labels; d++)
      x[i * labels + d] = (double)from[(i / FLOW_TILE * labels + d) * FLOW_TILE + i % FLOW_TILE];
}

/* Labels that a layer leaves as they are (coupling): the positions before its first network. */
static void pass_through(const flow_layout *y, int layer, const REAL *from, REAL *to)
{
  for (int p = 0; p < y->net[0].first; p++) {
    const int64_t at = (int64_t)flow_row(&y->shape, layer, p) * FLOW_TILE;
    memcpy(to + at, from + at, FLOW_TILE * sizeof *to);
  }
}

static void forward(void *work_, const flow_layout *y, const void *parameters, int n, const double *s, double *z,
                    double *log_slope)
{
  work *w = work_;
  const syz_flow_shape *shape = &y->shape;
  const int labels = shape->labels;
  w->tiles = tiles_of(n);
  put_labels(labels, n, s, value_of(w, y, 0, 0));
  memset(w->log_slope, 0, sizeof(REAL) * (size_t)(w->tiles * labels * FLOW_TILE));
  for (int layer = 0; layer < shape->layers; layer++) {
    const REAL *p = (const REAL *)parameters + layer * y->layer_size;
    for (int tile = 0; tile < w->tiles; tile++)
      pass_through(y, layer, value_of(w, y, layer, tile), value_of(w, y, layer + 1, tile));
    for (int net = 0; net < y->nets; net++) {
      const flow_net *f = &y->net[net];
      const bool is_one = net_tiles(w, f) == 1;
      net_forward(w, y, p, layer, net);
      for (int tile = 0; tile < w->tiles; tile++)
        for (int d = f->first; d < f->first + f->outputs; d++) {
          const int64_t at = (int64_t)flow_row(shape, layer, d) * FLOW_TILE;
          spline_forward(shape, (const row *)table_of(w, y, layer, is_one ? 0 : tile, d),
                         value_of(w, y, layer, tile) + at, bin_of(w, y, layer, tile, d),
                         value_of(w, y, layer + 1, tile) + at, w->log_slope + tile * labels * FLOW_TILE + at);
        }
    }
  }
  take_labels(labels, n, value_of(w, y, shape->layers, 0), z);
  take_labels(labels, n, w->log_slope, log_slope);
}

static void inverse(void *work_, const flow_layout *y, const void *parameters, int n, const double *z, double *s)
{
  work *w = work_;
  const syz_flow_shape *shape = &y->shape;
  w->tiles = tiles_of(n);
  put_labels(shape->labels, n, z, value_of(w, y, shape->layers, 0));
  for (int layer = shape->layers - 1; layer >= 0; layer--) {
    const REAL *p = (const REAL *)parameters + layer * y->layer_size;
    for (int tile = 0; tile < w->tiles; tile++)
      pass_through(y, layer, value_of(w, y, layer + 1, tile), value_of(w, y, layer, tile));
    for (int net = 0; net < y->nets; net++) { /* in order: each takes labels that those before it gave */
      const flow_net *f = &y->net[net];
      const bool is_one = net_tiles(w, f) == 1;
      net_forward(w, y, p, layer, net);
      for (int tile = 0; tile < w->tiles; tile++)
        for (int d = f->first; d < f->first + f->outputs; d++) {
          const int64_t at = (int64_t)flow_row(shape, layer, d) * FLOW_TILE;
          spline_inverse(shape, (const row *)table_of(w, y, layer, is_one ? 0 : tile, d),
                         value_of(w, y, layer + 1, tile) + at, bin_of(w, y, layer, tile, d),
                         value_of(w, y, layer, tile) + at);
        }
    }
  }
  take_labels(shape->labels, n, value_of(w, y, 0, 0), s);
}

/* One layer: dout by its outputs -> din by its inputs; parameters' gradients +=. */
static void layer_backward(work *w, const flow_layout *y, const REAL *p, int layer, REAL *gradient, const REAL *dout,
                           REAL *din)
{
  const syz_flow_shape *shape = &y->shape;
  const int64_t labels = shape->labels * (int64_t)FLOW_TILE;
  memset(din, 0, sizeof(REAL) * (size_t)(w->tiles * labels));
  for (int tile = 0; tile < w->tiles; tile++) pass_through(y, layer, dout + tile * labels, din + tile * labels);
  for (int net = 0; net < y->nets; net++) {
    const flow_net *f = &y->net[net];
    for (int tile = 0; tile < w->tiles; tile++)
      for (int g = 0; g < f->outputs; g++) {
        const int d = f->first + g;
        const int64_t at = (int64_t)flow_row(shape, layer, d) * FLOW_TILE, here = tile * labels + at;
        spline_backward(shape, (const row *)table_of(w, y, layer, tile, d), (const row *)bin_of(w, y, layer, tile, d),
                        value_of(w, y, layer, tile) + at, dout + here, w->dlog_slope + here, din + here,
                        raw_of(w, y, f, tile, g, 0), raw_of(w, y, f, tile, g, 1), raw_of(w, y, f, tile, g, 2));
      }
    net_backward(w, y, p, layer, net, gradient, din);
  }
}

static void backward(void *work_, const flow_layout *y, const void *parameters, int n, const double *weight,
                     void *gradient, double *ds, double *dcontext)
{
  work *w = work_;
  const int64_t labels = y->shape.labels, room = FLOW_TILES * labels * FLOW_TILE, context = y->shape.context;
  REAL *dout = w->dvalue, *din = w->dvalue + room;
  SYZ_ASSERT(w->trains && !w->shared && tiles_of(n) == w->tiles);
  w->dcontext = dcontext ? w->dcontext_room : NULL;
  if (dcontext) memset(w->dcontext, 0, sizeof(REAL) * (size_t)(w->tiles * context * FLOW_TILE));
  for (int i = 0; i < w->tiles * FLOW_TILE; i++) /* d log N(z) / dz = -z */
    for (int64_t d = 0; d < labels; d++) {
      const int64_t at = (i / FLOW_TILE * labels + d) * FLOW_TILE + i % FLOW_TILE;
      const REAL g = i < n ? (REAL)weight[i] : 0;
      w->dlog_slope[at] = g;
      dout[at] = -g * value_of(w, y, y->shape.layers, 0)[at];
    }
  for (int layer = y->shape.layers - 1; layer >= 0; layer--) {
    const int64_t at = layer * y->layer_size;
    layer_backward(w, y, (const REAL *)parameters + at, layer, (REAL *)gradient + at, dout, din);
    REAL *swap = dout;
    dout = din;
    din = swap;
  }
  if (ds) take_labels(labels, n, dout, ds);
  if (dcontext) take_labels(context, n, w->dcontext, dcontext);
}

static double sum_of_squares(const void *x_, int64_t n)
{
  const REAL *x = x_;
  double lane[8] = {0}, sum = 0;
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int l = 0; l < 8; l++) lane[l] += (double)x[i + l] * (double)x[i + l];
  for (; i < n; i++) sum += (double)x[i] * (double)x[i];
  for (int l = 0; l < 8; l++) sum += lane[l];
  return sum;
}

/* Kingma & Ba 2015, arXiv:1412.6980, in PyTorch's order of operations. */
static void adam(const flow_adam *o, void *w_, void *m_, void *v_, const void *g_, int64_t n)
{
  REAL *restrict w = w_, *restrict m = m_, *restrict v = v_;
  const REAL *restrict g = g_;
  const REAL scale = (REAL)o->scale, b1 = (REAL)o->beta1, c1 = (REAL)(1 - o->beta1), b2 = (REAL)o->beta2;
  const REAL c2 = (REAL)(1 - o->beta2), step = (REAL)(o->lr / (1 - pow(o->beta1, (double)o->step)));
  const REAL root = (REAL)(1 / sqrt(1 - pow(o->beta2, (double)o->step))), eps = (REAL)o->eps;
  for (int64_t i = 0; i < n; i++) {
    const REAL x = g[i] * scale;
    m[i] = b1 * m[i] + c1 * x;
    v[i] = b2 * v[i] + c2 * x * x;
    w[i] -= step * m[i] / (root_of(v[i]) * root + eps);
  }
}

const flow_engine ENGINE = {sizeof(REAL), work_create, work_destroy, load_context,   prepare, share,
                            forward,      inverse,     backward,     sum_of_squares, adam};
