/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Forward and backward passes of a block of rows. What a hidden layer leaves is positive exactly where its ReLU was
 * open and its number kept, so the backward pass needs neither the numbers before ReLU nor the dropout drawn again.
 */
#include <math.h>
#include <string.h>

#include "internal.h"
#include "syzygy/nn.h"

syz_status passage_create(const syz_perceptron *p, int64_t rows, passage *w)
{
  syz_status st = SYZ_OK;
  int64_t widest = 0, largest = 0;
  *w = (passage){.rows = rows};
  for (int l = 0; l < p->layers; l++) {
    const syz_perceptron_layer *y = &p->layer[l];
    if (y->stride > widest) widest = y->stride;
    if (l && y->outputs * p->layer[l - 1].stride > largest) largest = y->outputs * p->layer[l - 1].stride;
    SYZ_ALLOC(w->value[l], "network", rows * y->stride);
  }
  SYZ_ALLOC(w->x, "network", rows * p->options.inputs);
  SYZ_ALLOC(w->slope[0], "network", rows * widest);
  SYZ_ALLOC(w->slope[1], "network", rows * widest);
  SYZ_ALLOC(w->transposed, "network", largest + 1);
  SYZ_ALLOC(w->id, "network", rows);
  SYZ_ALLOC(w->index, "network", rows);
cleanup:
  return st;
}

void passage_destroy(passage *w)
{
  syz_free(&w->x);
  for (int l = 0; l < PERCEPTRON_LAYERS; l++) syz_free(&w->value[l]);
  syz_free(&w->slope[0]);
  syz_free(&w->slope[1]);
  syz_free(&w->transposed);
  syz_free(&w->id);
  syz_free(&w->index);
}

/* ---------------------------------------------------------------- forward */

static void load_rows(const syz_perceptron *p, const syz_perceptron_rows *r, const int64_t *index, int64_t n,
                      passage *w)
{
  const int64_t width = p->options.inputs;
  for (int64_t i = 0; i < n; i++) {
    const float *from = r->x + index[i] * width;
    float *to = w->x + i * width;
    for (int64_t c = 0; c < width; c++) to[c] = (from[c] - p->mean[c]) * p->factor[c];
    w->id[i] = r->id ? r->id[index[i]] : 0;
  }
}

static const float *input_of(const syz_perceptron *p, const passage *w, int layer, int64_t *stride)
{
  *stride = layer ? p->layer[layer - 1].stride : p->options.inputs;
  return layer ? w->value[layer - 1] : w->x;
}

void passage_forward(const syz_perceptron *p, const float *weight, int member, int64_t epoch,
                     const syz_perceptron_rows *r, const int64_t *index, int64_t n, passage *w)
{
  load_rows(p, r, index, n, w);
  for (int l = 0; l < p->layers; l++) {
    const syz_perceptron_layer *y = &p->layer[l];
    float *out = w->value[l];
    int64_t stride;
    const float *in = input_of(p, w, l, &stride);
    for (int64_t i = 0; i < n; i++) memcpy(out + i * y->stride, weight + y->bias, (size_t)y->stride * sizeof *out);
    product_add(&(product){.m = n,
                           .n = y->stride,
                           .k = y->inputs,
                           .a = in,
                           .a_row = stride,
                           .a_column = 1,
                           .b = weight + y->weight,
                           .b_row = y->stride,
                           .c = out,
                           .c_row = y->stride});
    if (l == p->layers - 1) break;
    for (int64_t i = 0; i < n * y->stride; i++) out[i] = out[i] < 0 ? 0 : out[i]; /* NaN stays NaN */
    if (epoch >= 0)
      syz_dropout(out, (float)p->options.dropout, syz_perceptron_seed(p, member), (uint64_t)epoch, w->id, (uint32_t)l,
                  n, y->stride);
  }
}

/* ------------------------------------------------------------------- loss */

void softmax_of(int64_t n, const float *z, double *p)
{
  double most = (double)z[0], sum = 0;
  for (int64_t c = 1; c < n; c++) most = fmax(most, (double)z[c]);
  for (int64_t c = 0; c < n; c++) sum += p[c] = exp((double)z[c] - most);
  for (int64_t c = 0; c < n; c++) p[c] /= sum;
}

/* -ln of the softmax of p at class t, and its gradient q with respect to the scores that p is the softmax of. */
static double twice(int64_t n, const double *p, int64_t t, double *q)
{
  double sum = 0, mean = 0;
  for (int64_t c = 0; c < n; c++) sum += q[c] = exp(p[c]);
  const double loss = log(sum) - p[t];
  for (int64_t c = 0; c < n; c++) q[c] = q[c] / sum - (c == t ? 1 : 0);
  for (int64_t c = 0; c < n; c++) mean += p[c] * q[c];
  for (int64_t c = 0; c < n; c++) q[c] = p[c] * (q[c] - mean);
  return loss;
}

static double once(int64_t n, const float *z, const double *p, int64_t t, double *q)
{
  double most = (double)z[0], sum = 0;
  for (int64_t c = 1; c < n; c++) most = fmax(most, (double)z[c]);
  for (int64_t c = 0; c < n; c++) {
    sum += exp((double)z[c] - most);
    q[c] = p[c] - (c == t ? 1 : 0);
  }
  return log(sum) + most - (double)z[t];
}

static double loss_of_classes(const syz_perceptron *p, const syz_perceptron_rows *r, const int64_t *index, int64_t n,
                              bool has_gradient, passage *w, double *scratch)
{
  const syz_perceptron_layer *y = &p->layer[p->layers - 1];
  const int64_t classes = y->outputs;
  double loss = 0, *probability = scratch, *q = scratch + classes;
  for (int64_t i = 0; i < n; i++) {
    const float *z = w->value[p->layers - 1] + i * y->stride;
    float *d = w->slope[0] + i * y->stride;
    const int64_t t = (int64_t)r->y[index[i]];
    softmax_of(classes, z, probability);
    loss += p->options.loss == SYZ_PERCEPTRON_CLASSES ? once(classes, z, probability, t, q)
                                                      : twice(classes, probability, t, q);
    if (!has_gradient) continue;
    memset(d, 0, (size_t)y->stride * sizeof *d);
    for (int64_t c = 0; c < classes; c++) d[c] = (float)(q[c] / (double)n);
  }
  return loss;
}

static double loss_of_squares(const syz_perceptron *p, const syz_perceptron_rows *r, const int64_t *index, int64_t n,
                              bool has_gradient, passage *w, int64_t *count)
{
  const syz_perceptron_layer *y = &p->layer[p->layers - 1];
  const int64_t labels = y->outputs;
  double loss = 0;
  *count = 0;
  for (int64_t i = 0; i < n; i++)
    for (int64_t d = 0; d < labels; d++) *count += !isnan(r->y[index[i] * labels + d]);
  if (has_gradient) memset(w->slope[0], 0, (size_t)(n * y->stride) * sizeof(float));
  for (int64_t i = 0; i < n; i++)
    for (int64_t d = 0; d < labels; d++) {
      const double truth = r->y[index[i] * labels + d];
      if (isnan(truth)) continue;
      const double apart =
          (double)w->value[p->layers - 1][i * y->stride + d] - (truth - p->label_mean[d]) / p->label_scale[d];
      loss += apart * apart;
      if (has_gradient) w->slope[0][i * y->stride + d] = (float)(2 * apart / (double)*count);
    }
  return loss;
}

double passage_loss(const syz_perceptron *p, const syz_perceptron_rows *r, const int64_t *index, int64_t n,
                    bool has_gradient, passage *w, int64_t *count)
{
  double scratch[2 * SYZ_PERCEPTRON_MOST_CLASSES];
  if (p->options.loss == SYZ_PERCEPTRON_SQUARES) return loss_of_squares(p, r, index, n, has_gradient, w, count);
  *count = n;
  return loss_of_classes(p, r, index, n, has_gradient, w, scratch);
}

/* --------------------------------------------------------------- backward */

static void weight_gradient(const syz_perceptron *p, const passage *w, int layer, int64_t n, const float *slope,
                            float *gradient)
{
  const syz_perceptron_layer *y = &p->layer[layer];
  float *bias = gradient + y->bias;
  int64_t stride;
  const float *in = input_of(p, w, layer, &stride);
  for (int64_t i = 0; i < n; i++)
    for (int64_t o = 0; o < y->stride; o++) bias[o] += slope[i * y->stride + o];
  product_add(&(product){.m = y->inputs,
                         .n = y->stride,
                         .k = n,
                         .a = in,
                         .a_row = 1,
                         .a_column = stride,
                         .b = slope,
                         .b_row = y->stride,
                         .c = gradient + y->weight,
                         .c_row = y->stride});
}

/* Gradient of the layer before, through its dropout and its ReLU. */
static void input_gradient(const syz_perceptron *p, const float *weight, passage *w, int layer, int64_t n,
                           const float *slope, float *before, float kept)
{
  const syz_perceptron_layer *y = &p->layer[layer];
  const int64_t stride = p->layer[layer - 1].stride;
  const float *value = w->value[layer - 1];
  memset(w->transposed, 0, (size_t)(y->outputs * stride) * sizeof *w->transposed);
  for (int64_t i = 0; i < y->inputs; i++)
    for (int64_t o = 0; o < y->outputs; o++) w->transposed[o * stride + i] = weight[y->weight + i * y->stride + o];
  memset(before, 0, (size_t)(n * stride) * sizeof *before);
  product_add(&(product){.m = n,
                         .n = stride,
                         .k = y->outputs,
                         .a = slope,
                         .a_row = y->stride,
                         .a_column = 1,
                         .b = w->transposed,
                         .b_row = stride,
                         .c = before,
                         .c_row = stride});
  for (int64_t i = 0; i < n * stride; i++) before[i] = value[i] > 0 ? before[i] * kept : 0;
}

void passage_backward(const syz_perceptron *p, const float *weight, int64_t n, bool has_dropout, passage *w,
                      float *gradient)
{
  const float kept = has_dropout ? (float)(1.0 / (1.0 - (double)(float)p->options.dropout)) : 1;
  memset(gradient, 0, (size_t)p->parameters * sizeof *gradient);
  for (int l = p->layers - 1; l >= 0; l--) {
    const float *slope = w->slope[(p->layers - 1 - l) % 2];
    weight_gradient(p, w, l, n, slope, gradient);
    if (l) input_gradient(p, weight, w, l, n, slope, w->slope[(p->layers - l) % 2], kept);
  }
}
