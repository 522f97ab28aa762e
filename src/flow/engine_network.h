/* SPDX-License-Identifier: BSD-3-Clause */
/** Scratch of one thread, and the conditioner networks: linear layers with ReLU, forward and backward. */
#pragma once

#include "engine_product.h"
#include "engine_spline.h"

/** All arrays are [tile][row][FLOW_TILE]. Those of a layer are kept for every layer when the work trains. */
typedef struct work {
  bool trains;
  int tiles;        /* of this call */
  REAL *context;    /* [tiles][C] */
  REAL *value;      /* [L + 1][tiles][D]: labels between layers */
  REAL *log_slope;  /* [tiles][D] */
  REAL *hidden;     /* [L][nets][hidden layers][tiles][hidden] */
  REAL *raw;        /* [tiles][most outputs]: widths, heights, slopes; backward their gradients */
  REAL *table;      /* [L][tiles][D][4 K] */
  REAL *bin;        /* [L][tiles][D][BIN_ROWS] */
  REAL *dhidden;    /* [2][tiles][hidden] */
  REAL *dvalue;     /* [2][tiles][D] */
  REAL *dlog_slope; /* [tiles][D] */
  REAL *dcontext;   /* [tiles][C], or NULL: not wanted */
  REAL *dcontext_room;
  REAL *prepared; /* [objects][L][nets][hidden]: first products with the context */
  REAL *shared;   /* those of the object whose context all share; NULL: none */
  void *block;
} work;

static int64_t most_outputs(const flow_layout *y)
{
  int64_t most = 0;
  for (int n = 0; n < y->nets; n++) {
    const int64_t rows = flow_linear_rows(y, &y->net[n], y->shape.hidden_layers);
    if (rows > most) most = rows;
  }
  return most;
}

static void work_lay_out(work *w, const flow_layout *y, bool trains, syz_arena *a)
{
  const syz_flow_shape *s = &y->shape;
  const size_t all = (size_t)FLOW_BLOCK, layers = trains ? (size_t)s->layers : 1, labels = (size_t)s->labels;
  const size_t hidden = (size_t)s->hidden, nets = (size_t)y->nets, real = sizeof(REAL);
  w->context = syz_arena_take(a, all * (size_t)s->context, real);
  w->value = syz_arena_take(a, all * (size_t)(s->layers + 1) * labels, real);
  w->log_slope = syz_arena_take(a, all * labels, real);
  w->hidden = syz_arena_take(a, all * layers * nets * (size_t)s->hidden_layers * hidden, real);
  w->raw = syz_arena_take(a, all * (size_t)most_outputs(y), real);
  w->table = syz_arena_take(a, all * layers * labels * 4 * (size_t)s->bins, real);
  w->bin = syz_arena_take(a, all * layers * labels * BIN_ROWS, real);
  if (trains) {
    w->dhidden = syz_arena_take(a, all * 2 * hidden, real);
    w->dvalue = syz_arena_take(a, all * 2 * labels, real);
    w->dlog_slope = syz_arena_take(a, all * labels, real);
    w->dcontext_room = syz_arena_take(a, all * (size_t)s->context, real);
  } else {
    w->prepared = syz_arena_take(a, all * (size_t)s->layers * nets * hidden, real);
  }
}

static syz_status work_create(const flow_layout *largest, bool trains, void **out)
{
  syz_status st = SYZ_OK;
  work *w = NULL, measure;
  syz_arena a = {0};
  *out = NULL;
  SYZ_ALLOC(w, "flow", 1);
  work_lay_out(&measure, largest, trains, &a);
  SYZ_ALLOC(a.base, "flow", a.used);
  a.size = a.used;
  a.used = 0;
  work_lay_out(w, largest, trains, &a);
  w->trains = trains;
  w->block = a.base;
  *out = w;
  w = NULL;
cleanup:
  syz_free(&w);
  return st;
}

static void work_destroy(void **out)
{
  work *w = *out;
  if (w) syz_free(&w->block);
  syz_free(out);
}

/* ---- where things are ---- */

static REAL *value_of(const work *w, const flow_layout *y, int layer, int tile)
{
  return w->value + ((int64_t)layer * FLOW_TILES + tile) * y->shape.labels * FLOW_TILE;
}
static REAL *hidden_of(const work *w, const flow_layout *y, int layer, int net, int j, int tile)
{
  const int64_t at = ((w->trains ? layer : 0) * (int64_t)y->nets + net) * y->shape.hidden_layers + j;
  return w->hidden + (at * FLOW_TILES + tile) * y->shape.hidden * FLOW_TILE;
}
static row *table_of(const work *w, const flow_layout *y, int layer, int tile, int label)
{
  const int64_t at = ((w->trains ? layer : 0) * (int64_t)FLOW_TILES + tile) * y->shape.labels + label;
  return (row *)(void *)(w->table + at * 4 * y->shape.bins * FLOW_TILE);
}
static row *bin_of(const work *w, const flow_layout *y, int layer, int tile, int label)
{
  const int64_t at = ((w->trains ? layer : 0) * (int64_t)FLOW_TILES + tile) * y->shape.labels + label;
  return (row *)(void *)(w->bin + at * BIN_ROWS * FLOW_TILE);
}
/** Of output g of a network: widths (part 0), heights (1) or slopes (2) among its raw rows. */
static row *raw_of(const work *w, const flow_layout *y, const flow_net *n, int tile, int g, int part)
{
  const int64_t bins = y->shape.bins, rows = flow_linear_rows(y, n, y->shape.hidden_layers);
  const int64_t at = part * n->outputs * bins + g * (part == 2 ? bins - 1 : bins);
  return (row *)(void *)(w->raw + (tile * rows + at) * FLOW_TILE);
}

/* ---- forward ---- */

static void relu(int64_t rows, REAL *x)
{
  for (int64_t i = 0; i < rows * FLOW_TILE; i += FLOW_TILE) EACH(l) x[i + l] = x[i + l] < 0 ? 0 : x[i + l];
}

/* The first linear layer on one tile: context (or what is prepared of it), then labels before this network's. */
static void first_linear(const work *w, const flow_layout *y, const REAL *layer_parameters, int layer, int net,
                         int tile, REAL *out)
{
  const flow_net *n = &y->net[net];
  const int64_t hidden = y->shape.hidden, context = y->shape.context, columns = context + n->inputs;
  const REAL *a = layer_parameters + n->weight[0];
  product p = {hidden, context, a, columns, 1, FLOW_TILE, FLOW_TILE};
  if (w->shared) {
    const REAL *done = w->shared + ((int64_t)layer * y->nets + net) * hidden;
    for (int64_t r = 0; r < hidden; r++) EACH(i) out[r * FLOW_TILE + i] = done[r];
  } else {
    product_tile(&p, w->context + tile * context * FLOW_TILE, layer_parameters + n->bias[0], out);
  }
  if (!n->inputs) return;
  p.inner = n->inputs;
  p.a = a + context;
  p.x_row = flow_reverses(&y->shape, layer) ? -FLOW_TILE : FLOW_TILE;
  product_tile(&p, value_of(w, y, layer, tile) + flow_row(&y->shape, layer, 0) * FLOW_TILE, NULL, out);
}

/* How many tiles of a network differ: all, or one when all objects share the context and it sees no label. */
static int net_tiles(const work *w, const flow_net *n) { return w->shared && !n->inputs ? 1 : w->tiles; }

/* Network -> tables of its labels; those of value_of(layer) that it takes must be there. */
static void net_forward(const work *w, const flow_layout *y, const REAL *layer_parameters, int layer, int net)
{
  const flow_net *n = &y->net[net];
  const int last = y->shape.hidden_layers, tiles = net_tiles(w, n);
  const int64_t hidden = y->shape.hidden, outputs = flow_linear_rows(y, n, last);
  for (int tile = 0; tile < tiles; tile++) {
    for (int j = 0; j < last; j++) {
      REAL *out = hidden_of(w, y, layer, net, j, tile);
      const product p = {hidden, hidden, layer_parameters + n->weight[j], hidden, 1, FLOW_TILE, FLOW_TILE};
      if (j)
        product_tile(&p, hidden_of(w, y, layer, net, j - 1, tile), layer_parameters + n->bias[j], out);
      else
        first_linear(w, y, layer_parameters, layer, net, tile, out);
      relu(hidden, out);
    }
    const product p = {outputs, hidden, layer_parameters + n->weight[last], hidden, 1, FLOW_TILE, FLOW_TILE};
    product_tile(&p, hidden_of(w, y, layer, net, last - 1, tile), layer_parameters + n->bias[last],
                 w->raw + tile * outputs * FLOW_TILE);
    for (int g = 0; g < n->outputs; g++)
      spline_table(&y->shape, (const row *)raw_of(w, y, n, tile, g, 0), (const row *)raw_of(w, y, n, tile, g, 1),
                   (const row *)raw_of(w, y, n, tile, g, 2), table_of(w, y, layer, tile, n->first + g));
  }
}

/* ---- backward ---- */

/* dx of one tile for inputs of the first linear layer. */
static void first_linear_backward(const work *w, const flow_layout *y, const REAL *layer_parameters, int layer,
                                  const flow_net *n, int tile, const REAL *dout, REAL *dvalue)
{
  const int64_t hidden = y->shape.hidden, context = y->shape.context, columns = context + n->inputs;
  const REAL *a = layer_parameters + n->weight[0];
  const int64_t step = flow_reverses(&y->shape, layer) ? -FLOW_TILE : FLOW_TILE;
  const product labels = {n->inputs, hidden, a + context, 1, columns, FLOW_TILE, step};
  const product contexts = {context, hidden, a, 1, columns, FLOW_TILE, FLOW_TILE};
  if (n->inputs)
    product_tile(&labels, dout, NULL,
                 dvalue + (tile * y->shape.labels + flow_row(&y->shape, layer, 0)) * (int64_t)FLOW_TILE);
  if (w->dcontext) product_tile(&contexts, dout, NULL, w->dcontext + tile * context * FLOW_TILE);
}

/* Gradients of linear layer j from those of its outputs; gradient: of the layer's parameters. */
static void linear_gradient(const work *w, const flow_layout *y, int layer, int net, int j, const REAL *dout,
                            REAL *gradient)
{
  const flow_net *n = &y->net[net];
  const int64_t rows = flow_linear_rows(y, n, j), columns = flow_linear_columns(y, n, j), tile = FLOW_TILE;
  const int64_t context = y->shape.context, hidden = y->shape.hidden;
  REAL *g = gradient + n->weight[j];
  outer o = {w->tiles, rows, hidden, dout, NULL, rows * tile, hidden * tile, tile, g, columns};
  outer_bias(w->tiles, rows, dout, rows * tile, gradient + n->bias[j]);
  if (j) {
    o.x = hidden_of(w, y, layer, net, j - 1, 0);
    outer_sum(&o);
    return;
  }
  o.columns = context;
  o.x = w->context;
  o.x_tile = context * tile;
  outer_sum(&o);
  if (!n->inputs) return;
  o.columns = n->inputs;
  o.x = value_of(w, y, layer, 0) + flow_row(&y->shape, layer, 0) * tile;
  o.x_tile = y->shape.labels * tile;
  o.x_row = flow_reverses(&y->shape, layer) ? -tile : tile;
  o.g = g + context;
  outer_sum(&o);
}

/* From gradients in `raw` to those of parameters (+=), of the labels that the network takes and of the context. */
static void net_backward(const work *w, const flow_layout *y, const REAL *layer_parameters, int layer, int net,
                         REAL *gradient, REAL *dvalue)
{
  const flow_net *n = &y->net[net];
  const int64_t hidden = y->shape.hidden, room = FLOW_TILES * hidden * FLOW_TILE;
  const REAL *dout = w->raw;
  for (int j = y->shape.hidden_layers; j >= 0; j--) {
    const int64_t rows = flow_linear_rows(y, n, j);
    REAL *din = w->dhidden + (j % 2) * room;
    linear_gradient(w, y, layer, net, j, dout, gradient);
    for (int tile = 0; tile < w->tiles; tile++) {
      const REAL *from = dout + tile * rows * FLOW_TILE;
      REAL *to = din + tile * hidden * FLOW_TILE;
      if (!j) {
        first_linear_backward(w, y, layer_parameters, layer, n, tile, from, dvalue);
        continue;
      }
      const product p = {hidden, rows, layer_parameters + n->weight[j], 1, hidden, FLOW_TILE, FLOW_TILE};
      const REAL *x = hidden_of(w, y, layer, net, j - 1, tile);
      memset(to, 0, (size_t)(hidden * FLOW_TILE) * sizeof *to);
      product_tile(&p, from, NULL, to);
      for (int64_t i = 0; i < hidden * FLOW_TILE; i += FLOW_TILE) EACH(l) to[i + l] = x[i + l] > 0 ? to[i + l] : 0;
    }
    dout = din;
  }
}
