/* SPDX-License-Identifier: BSD-3-Clause */
/** Making an ensemble: shapes, the table of parameters and their names, initial weights, scaling of contexts. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

const char *syz_flow_kind_name(syz_flow_kind kind)
{
  static const char *const name[] = {"elementwise", "autoregressive", "coupling"};
  return kind >= SYZ_FLOW_ELEMENTWISE && kind <= SYZ_FLOW_COUPLING ? name[kind] : "unknown";
}

syz_flow_options syz_flow_options_default(int labels, int context)
{
  return (syz_flow_options){.members = 1,
                            .shape = {.kind = SYZ_FLOW_AUTOREGRESSIVE,
                                      .labels = labels,
                                      .context = context,
                                      .layers = 3,
                                      .hidden = 32,
                                      .hidden_layers = 3,
                                      .bins = 8,
                                      .bound = 5,
                                      .end_slope = 1}};
}

syz_flow_options syz_flow_options_astroclip(int labels, int context)
{
  syz_flow_options o = syz_flow_options_default(labels, context);
  o.members = 10;
  o.draws_shapes = true;
  o.shape.kind = SYZ_FLOW_ELEMENTWISE;
  o.shape.bound = 3;
  o.shape.end_slope = 0.999; /* Quirk: pyro's 1 - min_derivative */
  o.shape.keeps_order = true;
  return o;
}

/* ---------------------------------------------------------------- shapes */

static syz_status check_range(const char *what, double x, double low, double high)
{
  if (x >= low && x <= high) return SYZ_OK;
  return syz_error_set(SYZ_ERR_INPUT, __FILE__, __LINE__, "flow: %s is %g, allowed are %g to %g", what, x, low, high);
}

static syz_status check_shape(const syz_flow_shape *s)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(check_range("kind", s->kind, SYZ_FLOW_ELEMENTWISE, SYZ_FLOW_COUPLING));
  SYZ_TRY(check_range("the number of labels", s->labels, 1, SYZ_FLOW_LABELS));
  SYZ_TRY(check_range("the width of the context", s->context, 1, 1 << 20));
  SYZ_TRY(check_range("the number of layers", s->layers, 1, SYZ_FLOW_LAYERS));
  SYZ_TRY(check_range("the number of hidden layers", s->hidden_layers, 1, SYZ_FLOW_HIDDEN_LAYERS));
  SYZ_TRY(check_range("the hidden width", s->hidden, 1, 4096));
  SYZ_TRY(check_range("the number of bins", s->bins, 2, SYZ_FLOW_BINS));
  SYZ_TRY(check_range("the bound of the box", s->bound, 0.1, 1000));
  SYZ_TRY(check_range("the slope at the ends", s->end_slope, 0.01, 100));
  SYZ_REQUIRE(s->kind != SYZ_FLOW_COUPLING || s->labels == 1 || (s->layers >= 2 && !s->keeps_order), SYZ_ERR_INPUT,
              "a coupling flow needs at least two layers, and the order of labels reversed between them: otherwise the "
              "first half of the labels would stay as it is");
cleanup:
  return st;
}

static int64_t place_net(flow_layout *y, flow_net *n, int64_t at)
{
  for (int j = 0; j <= y->shape.hidden_layers; j++) {
    n->weight[j] = at;
    at += flow_linear_rows(y, n, j) * flow_linear_columns(y, n, j);
    n->bias[j] = at;
    at += flow_linear_rows(y, n, j);
  }
  return at;
}

void flow_layout_fill(const syz_flow_shape *shape, flow_layout *y)
{
  const int labels = shape->labels, kept = shape->kind == SYZ_FLOW_COUPLING ? labels / 2 : 0;
  *y = (flow_layout){.shape = *shape, .nets = 1};
  y->net[0] = (flow_net){.inputs = kept, .first = kept, .outputs = labels - kept};
  if (shape->kind == SYZ_FLOW_AUTOREGRESSIVE) {
    y->nets = labels;
    for (int d = 0; d < labels; d++) y->net[d] = (flow_net){.inputs = d, .first = d, .outputs = 1};
  }
  for (int n = 0; n < y->nets; n++) y->layer_size = place_net(y, &y->net[n], y->layer_size);
  y->size = y->layer_size * shape->layers;
}

/* Published: hidden = ceil(exp(U(ln 16, ln 32))), layers = integer part of U(2, 4). */
static void draw_shape(uint64_t seed, int member, syz_flow_shape *s)
{
  const syz_random r = syz_random_make(seed, SYZ_RANDOM_FLOW_SHAPE, 0, (uint64_t)member);
  s->hidden = (int)ceil(exp(log(16) + syz_random_uniform(&r, 0) * log(2)));
  s->layers = 2 + (int)(2 * syz_random_uniform(&r, 1));
}

static syz_status choose_shapes(syz_flow *f, const syz_flow_options *o)
{
  syz_status st = SYZ_OK;
  syz_flow_shape most = o->shapes ? o->shapes[0] : o->shape;
  for (int m = 0; m < f->members; m++) {
    syz_flow_shape s = o->shapes ? o->shapes[m] : o->shape;
    if (!o->shapes && o->draws_shapes) draw_shape(o->seed, m, &s);
    SYZ_TRY(check_shape(&s));
    SYZ_REQUIRE(s.kind == most.kind && s.labels == most.labels && s.context == most.context, SYZ_ERR_INPUT,
                "flow: member %d is %s of %d labels and %d context numbers, member 0 is %s of %d and %d", m,
                syz_flow_kind_name(s.kind), s.labels, s.context, syz_flow_kind_name(most.kind), most.labels,
                most.context);
    flow_layout_fill(&s, &f->layout[m]);
    if (s.layers > most.layers) most.layers = s.layers;
    if (s.hidden > most.hidden) most.hidden = s.hidden;
    if (s.hidden_layers > most.hidden_layers) most.hidden_layers = s.hidden_layers;
    if (s.bins > most.bins) most.bins = s.bins;
  }
  flow_layout_fill(&most, &f->largest);
  f->labels = most.labels;
  f->context = most.context;
cleanup:
  return st;
}

/* --------------------------------------------------------------- weights */

/* As torch.nn.Linear: weight and bias U(-1, 1) / sqrt(inputs). */
static void initialise(syz_flow *f, int member)
{
  for (int64_t i = 0; i < syz_flow_tensors(f, member); i++) {
    const syz_flow_tensor t = syz_flow_tensor_get(f, member, i), w = syz_flow_tensor_get(f, member, i - i % 2);
    const syz_random r = syz_random_make(f->seed, SYZ_RANDOM_FLOW_WEIGHT, (uint64_t)member, (uint64_t)i);
    const int64_t n = t.rows * (t.columns ? t.columns : 1);
    for (int64_t e = 0; e < n; e++) {
      const double x = (2 * syz_random_uniform(&r, (uint32_t)e) - 1) / sqrt((double)w.columns);
      if (f->precision == SYZ_FLOW_F64)
        ((double *)t.data)[e] = x;
      else
        ((float *)t.data)[e] = (float)x;
    }
  }
}

static syz_status fill(syz_flow *f, const syz_flow_options *o)
{
  syz_status st = SYZ_OK;
  SYZ_ALLOC(f->layout, "flow", f->members);
  SYZ_ALLOC(f->parameters, "flow", f->members);
  SYZ_TRY(choose_shapes(f, o));
  SYZ_ALLOC(f->mean, "flow", f->context);
  SYZ_ALLOC(f->factor, "flow", f->context);
  for (int c = 0; c < f->context; c++) f->factor[c] = 1;
  for (int d = 0; d < f->labels; d++) {
    f->label[d] = o->label[d];
    f->label[d].name[sizeof f->label[d].name - 1] = 0;
    SYZ_REQUIRE(o->label[d].scale > 0 && isfinite(o->label[d].mean), SYZ_ERR_INPUT,
                "label %s has the scale %g; syz_flow_labels_fit comes first", f->label[d].name, o->label[d].scale);
  }
  for (int m = 0; m < f->members; m++) {
    f->parameters[m] = syz_alloc("flow weights", (size_t)f->layout[m].size, f->engine->real);
    SYZ_REQUIRE(f->parameters[m], SYZ_ERR_MEMORY, "no memory for the weights of a flow");
    initialise(f, m);
  }
cleanup:
  return st;
}

syz_status syz_flow_create(const syz_flow_options *o, syz_flow **out)
{
  syz_status st = SYZ_OK;
  syz_flow *f = NULL;
  *out = NULL;
  SYZ_TRY(check_range("the number of members", o->members, 1, 10000));
  SYZ_ALLOC(f, "flow", 1);
  f->members = o->members;
  f->seed = o->seed;
  f->threads = o->threads > 1 ? o->threads : 1;
  f->precision = o->precision;
  f->engine = o->precision == SYZ_FLOW_F64 ? &flow_engine_f64 : &flow_engine_f32;
  f->calibration.temperature = 1;
  SYZ_TRY(fill(f, o));
  *out = f;
  f = NULL;
cleanup:
  syz_flow_destroy(&f);
  return st;
}

void syz_flow_destroy(syz_flow **out)
{
  syz_flow *f = *out;
  if (!f) return;
  for (int m = 0; f->parameters && m < f->members; m++) syz_free(&f->parameters[m]);
  syz_free(&f->parameters);
  syz_free(&f->layout);
  syz_free(&f->mean);
  syz_free(&f->factor);
  syz_free(out);
}

/* ------------------------------------------------------------- accessors */

int syz_flow_members(const syz_flow *f) { return f->members; }
const syz_flow_shape *syz_flow_member_shape(const syz_flow *f, int member) { return &f->layout[member].shape; }
const syz_flow_label *syz_flow_label_of(const syz_flow *f, int label) { return &f->label[label]; }
syz_flow_precision syz_flow_precision_of(const syz_flow *f) { return f->precision; }
void syz_flow_set_threads(syz_flow *f, int threads) { f->threads = threads > 1 ? threads : 1; }
int64_t syz_flow_parameters(const syz_flow *f, int member) { return f->layout[member].size; }
void *syz_flow_parameter_block(const syz_flow *f, int member) { return f->parameters[member]; }

int64_t syz_flow_tensors(const syz_flow *f, int member)
{
  const flow_layout *y = &f->layout[member];
  return 2 * (int64_t)y->shape.layers * y->nets * (y->shape.hidden_layers + 1);
}

syz_flow_tensor syz_flow_tensor_get(const syz_flow *f, int member, int64_t i)
{
  const flow_layout *y = &f->layout[member];
  const int linears = y->shape.hidden_layers + 1, j = (int)(i / 2 % linears), net = (int)(i / 2 / linears % y->nets);
  const int layer = (int)(i / 2 / linears / y->nets), is_bias = (int)(i % 2);
  const flow_net *n = &y->net[net];
  syz_flow_tensor t = {.rows = flow_linear_rows(y, n, j)};
  t.columns = is_bias ? 0 : flow_linear_columns(y, n, j);
  t.offset = layer * y->layer_size + (is_bias ? n->bias[j] : n->weight[j]);
  t.data = (char *)f->parameters[member] + (size_t)t.offset * f->engine->real;
  snprintf(t.name, sizeof t.name, "member.%d.layer.%d.dimension.%d.linear.%d.%s", member, layer, net, j,
           is_bias ? "bias" : "weight");
  return t;
}

bool syz_flow_has_marginal(const syz_flow *f, int label)
{
  const syz_flow_shape *s = &f->largest.shape;
  if (s->kind == SYZ_FLOW_ELEMENTWISE || s->labels == 1) return true;
  if (s->kind != SYZ_FLOW_AUTOREGRESSIVE || label) return false;
  for (int m = 0; m < f->members; m++)
    if (!f->layout[m].shape.keeps_order && f->layout[m].shape.layers > 1) return false;
  return true;
}

bool flow_has_all_marginals(const syz_flow *f)
{
  return f->largest.shape.kind == SYZ_FLOW_ELEMENTWISE || f->labels == 1;
}

/* --------------------------------------------------------------- context */

static syz_status check_context(const syz_flow *f, int64_t n, const float *context)
{
  for (int64_t i = 0; i < n * f->context; i++)
    if (!isfinite(context[i]))
      return syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__,
                           "context of training row %lld: number %lld is %g; leave such rows out",
                           (long long)(i / f->context), (long long)(i % f->context), (double)context[i]);
  return SYZ_OK;
}

/* Mean and deviation of n numbers, `stride` apart. */
static void mean_and_deviation(int64_t n, const float *x, int64_t stride, int ddof, double *mean, double *deviation)
{
  double sum = 0, square = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)x[i * stride];
  *mean = sum / (double)n;
  for (int64_t i = 0; i < n; i++) square += ((double)x[i * stride] - *mean) * ((double)x[i * stride] - *mean);
  *deviation = n > ddof ? sqrt(square / (double)(n - ddof)) : 0;
}

syz_status syz_flow_scale_context(syz_flow *f, syz_flow_scaling scaling, int64_t n, const float *context)
{
  syz_status st = SYZ_OK;
  SYZ_REQUIRE(n >= 1, SYZ_ERR_DATA, "a flow needs training rows to scale its context by; there are none");
  SYZ_TRY(check_context(f, n, context));
  for (int c = 0; c < f->context; c++) {
    double mean = 0, deviation = 1;
    if (scaling == SYZ_FLOW_WHOLE && c) {
      f->mean[c] = f->mean[0];
      f->factor[c] = f->factor[0];
      continue;
    }
    if (scaling == SYZ_FLOW_COLUMNS) mean_and_deviation(n, context + c, f->context, 0, &mean, &deviation);
    if (scaling == SYZ_FLOW_WHOLE) mean_and_deviation(n * f->context, context, 1, 1, &mean, &deviation);
    f->mean[c] = mean;
    f->factor[c] = deviation > 1e-7 * fabs(mean) ? 1 / deviation : 0; /* float32: less is rounding of a constant */
  }
cleanup:
  return st;
}
