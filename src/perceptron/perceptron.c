/* SPDX-License-Identifier: BSD-3-Clause */
/* An ensemble of networks of one shape: memory, starting weights, scales, predictions. */
#include <math.h>
#include <string.h>

#include "internal.h"

/* --------------------------------------------------------------- creation */

static syz_status check(const syz_perceptron_options *o)
{
  syz_status st = SYZ_OK;
  const bool has_classes = o->loss != SYZ_PERCEPTRON_SQUARES;
  SYZ_REQUIRE(o->inputs >= 1 && o->outputs >= 1 && o->members >= 1, SYZ_ERR_INPUT,
              "network: %lld inputs, %lld outputs, %d members; each is at least 1", (long long)o->inputs,
              (long long)o->outputs, o->members);
  SYZ_REQUIRE(!has_classes || o->outputs <= SYZ_PERCEPTRON_MOST_CLASSES, SYZ_ERR_INPUT,
              "network: %lld classes; at most %d", (long long)o->outputs, SYZ_PERCEPTRON_MOST_CLASSES);
  SYZ_REQUIRE(o->n_hidden >= 0 && o->n_hidden <= SYZ_PERCEPTRON_HIDDEN, SYZ_ERR_INPUT,
              "network: %d hidden layers; wanted 0 to %d", o->n_hidden, SYZ_PERCEPTRON_HIDDEN);
  for (int l = 0; l < o->n_hidden; l++)
    SYZ_REQUIRE(o->hidden[l] >= 1 && o->hidden[l] <= SYZ_PERCEPTRON_WIDTH, SYZ_ERR_INPUT,
                "network: a hidden layer of %lld; wanted 1 to %d", (long long)o->hidden[l], SYZ_PERCEPTRON_WIDTH);
  SYZ_REQUIRE(o->dropout >= 0 && o->dropout < 1, SYZ_ERR_INPUT, "network: a dropout of %g; wanted 0 to below 1",
              o->dropout);
cleanup:
  return st;
}

static void lay_out(syz_perceptron *p)
{
  const syz_perceptron_options *o = &p->options;
  p->layers = o->n_hidden + 1;
  for (int l = 0; l < p->layers; l++) {
    syz_perceptron_layer *y = &p->layer[l];
    y->inputs = l ? o->hidden[l - 1] : o->inputs;
    y->outputs = l < o->n_hidden ? o->hidden[l] : o->outputs;
    y->stride = (y->outputs + PERCEPTRON_LANES - 1) / PERCEPTRON_LANES * PERCEPTRON_LANES;
    y->weight = p->parameters;
    y->bias = y->weight + y->inputs * y->stride;
    p->parameters = y->bias + y->stride;
  }
}

static void start_member(const syz_perceptron *p, int member)
{
  for (int l = 0; l < p->layers; l++) {
    const syz_perceptron_layer *y = &p->layer[l];
    const double bound = 1 / sqrt((double)y->inputs);
    for (int64_t i = 0; i <= y->inputs; i++) { /* the last row is the bias, which follows the weights */
      const syz_random r = syz_random_make(syz_perceptron_seed(p, member), SYZ_RANDOM_INIT, (uint64_t)l, (uint64_t)i);
      for (int64_t k = 0; k < y->outputs; k++)
        p->block[member][y->weight + i * y->stride + k] =
            (float)(bound * (2 * syz_random_uniform(&r, (uint32_t)k) - 1));
    }
  }
}

static syz_status fill(syz_perceptron *p)
{
  syz_status st = SYZ_OK;
  const syz_perceptron_options *o = &p->options;
  lay_out(p);
  p->columns = o->loss == SYZ_PERCEPTRON_SQUARES ? o->outputs : 1;
  SYZ_ALLOC(p->mean, "network", o->inputs);
  SYZ_ALLOC(p->factor, "network", o->inputs);
  SYZ_ALLOC(p->label_mean, "network", o->outputs);
  SYZ_ALLOC(p->label_scale, "network", o->outputs);
  SYZ_ALLOC(p->block, "network", o->members);
  for (int64_t c = 0; c < o->inputs; c++) p->factor[c] = 1;
  for (int64_t d = 0; d < o->outputs; d++) p->label_scale[d] = 1;
  for (int m = 0; m < o->members; m++) {
    SYZ_ALLOC(p->block[m], "network", p->parameters);
    start_member(p, m);
  }
cleanup:
  return st;
}

syz_status syz_perceptron_create(const syz_perceptron_options *o, syz_perceptron **out)
{
  syz_status st = SYZ_OK;
  syz_perceptron *p = NULL;
  *out = NULL;
  SYZ_TRY(check(o));
  SYZ_ALLOC(p, "network", 1);
  p->options = *o;
  if (p->options.threads < 1) p->options.threads = 1;
  SYZ_TRY(fill(p));
  *out = p;
  p = NULL;
cleanup:
  syz_perceptron_destroy(&p);
  return st;
}

void syz_perceptron_destroy(syz_perceptron **pp)
{
  syz_perceptron *p = *pp;
  if (!p) return;
  for (int m = 0; p->block && m < p->options.members; m++) syz_free(&p->block[m]);
  syz_free(&p->block);
  syz_free(&p->mean);
  syz_free(&p->factor);
  syz_free(&p->label_mean);
  syz_free(&p->label_scale);
  syz_free(pp);
}

int syz_perceptron_layers(const syz_perceptron *p) { return p->layers; }

syz_perceptron_layer syz_perceptron_layer_get(const syz_perceptron *p, int layer)
{
  SYZ_ASSERT(layer >= 0 && layer < p->layers);
  return p->layer[layer];
}

int64_t syz_perceptron_parameters(const syz_perceptron *p) { return p->parameters; }

float *syz_perceptron_block(syz_perceptron *p, int member)
{
  SYZ_ASSERT(member >= 0 && member < p->options.members);
  return p->block[member];
}

/* ----------------------------------------------------------------- scales */

void syz_perceptron_scale_inputs(syz_perceptron *p, const syz_perceptron_rows *r)
{
  const int64_t width = p->options.inputs;
  for (int64_t c = 0; c < width; c++) {
    double sum = 0, square = 0;
    for (int64_t i = 0; i < r->n; i++) sum += (double)r->x[i * width + c];
    const double mean = sum / (double)r->n;
    for (int64_t i = 0; i < r->n; i++) {
      const double apart = (double)r->x[i * width + c] - mean;
      square += apart * apart;
    }
    const double deviation = sqrt(square / (double)r->n);
    p->mean[c] = (float)mean;
    /* The mean is rounded to float32: a column without other differences is constant. */
    p->factor[c] = deviation > 1e-7 * fabs(mean) ? (float)(1 / deviation) : 1;
  }
}

void syz_perceptron_scale_labels(syz_perceptron *p, const syz_perceptron_rows *r)
{
  if (p->options.loss != SYZ_PERCEPTRON_SQUARES) return;
  for (int64_t d = 0; d < p->columns; d++) {
    double sum = 0, square = 0, known = 0;
    for (int64_t i = 0; i < r->n; i++) {
      if (isnan(r->y[i * p->columns + d])) continue;
      sum += r->y[i * p->columns + d];
      known++;
    }
    p->label_mean[d] = known > 0 ? sum / known : 0;
    for (int64_t i = 0; i < r->n; i++) {
      const double apart = r->y[i * p->columns + d] - p->label_mean[d];
      if (!isnan(apart)) square += apart * apart;
    }
    p->label_scale[d] = square > 0 ? sqrt(square / known) : 1;
  }
}

/* ------------------------------------------------------------ predictions */

/* The members' part of a block of rows that have passed. */
static void add_outputs(const syz_perceptron *p, const passage *w, int64_t n, double *y)
{
  const syz_perceptron_layer *last = &p->layer[p->layers - 1];
  const int64_t outputs = last->outputs;
  double probability[SYZ_PERCEPTRON_MOST_CLASSES];
  for (int64_t i = 0; i < n; i++) {
    const float *z = w->value[p->layers - 1] + i * last->stride;
    if (p->options.loss == SYZ_PERCEPTRON_SQUARES)
      for (int64_t d = 0; d < outputs; d++) y[i * outputs + d] += (double)z[d];
    else {
      softmax_of(outputs, z, probability);
      for (int64_t d = 0; d < outputs; d++) y[i * outputs + d] += probability[d];
    }
  }
}

syz_status syz_perceptron_predict(const syz_perceptron *p, int64_t n, const float *x, double *y)
{
  syz_status st = SYZ_OK;
  const int64_t outputs = p->options.outputs;
  const syz_perceptron_rows r = {n, x, NULL, NULL};
  passage w;
  SYZ_TRY(passage_create(p, PERCEPTRON_BLOCK, &w));
  memset(y, 0, (size_t)(n * outputs) * sizeof *y);
  for (int64_t at = 0; at < n; at += PERCEPTRON_BLOCK) {
    const int64_t count = n - at < PERCEPTRON_BLOCK ? n - at : PERCEPTRON_BLOCK;
    for (int64_t i = 0; i < count; i++) w.index[i] = at + i;
    for (int m = 0; m < p->options.members; m++) {
      passage_forward(p, p->block[m], m, -1, &r, w.index, count, &w);
      add_outputs(p, &w, count, y + at * outputs);
    }
  }
  for (int64_t i = 0; i < n * outputs; i++) y[i] /= p->options.members;
  if (p->options.loss == SYZ_PERCEPTRON_SQUARES)
    for (int64_t i = 0; i < n * outputs; i++) y[i] = p->label_mean[i % outputs] + p->label_scale[i % outputs] * y[i];
cleanup:
  passage_destroy(&w);
  return st;
}

syz_status syz_perceptron_gradient(const syz_perceptron *p, int member, int64_t epoch, const syz_perceptron_rows *r,
                                   double *loss, float *gradient)
{
  syz_status st = SYZ_OK;
  int64_t count;
  passage w;
  SYZ_TRY(passage_create(p, r->n, &w));
  for (int64_t i = 0; i < r->n; i++) w.index[i] = i;
  passage_forward(p, p->block[member], member, epoch, r, w.index, r->n, &w);
  *loss = passage_loss(p, r, w.index, r->n, true, &w, &count);
  if (count) *loss /= (double)count;
  passage_backward(p, p->block[member], r->n, epoch >= 0, &w, gradient);
cleanup:
  passage_destroy(&w);
  return st;
}
