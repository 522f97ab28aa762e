/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include <string.h>

#include "search_rows.h"

enum { LANES = 16, PIECE = 256, SAMPLE = 1024 };

/* Bounds are rounded to float32, and multiplied and added there: so much is added to each. */
static const double SAFE = 1.0001;

static double add_lanes(const double lane[LANES])
{
  double sum = 0;
  for (int l = 0; l < LANES; l++) sum += lane[l];
  return sum;
}

double syz_search_product(const float *a, const float *b, int64_t width)
{
  double lane[LANES] = {0};
  int64_t e = 0;
  for (; e + LANES <= width; e += LANES)
    for (int l = 0; l < LANES; l++) lane[l] += (double)a[e + l] * (double)b[e + l];
  for (int l = 0; e + l < width; l++) lane[l] += (double)a[e + l] * (double)b[e + l];
  return add_lanes(lane);
}

double syz_search_squares(const float *a, const float *b, int64_t width)
{
  double lane[LANES] = {0};
  int64_t e = 0;
  for (; e + LANES <= width; e += LANES)
    for (int l = 0; l < LANES; l++) {
      const double d = (double)a[e + l] - (double)b[e + l];
      lane[l] += d * d;
    }
  for (int l = 0; e + l < width; l++) {
    const double d = (double)a[e + l] - (double)b[e + l];
    lane[l] += d * d;
  }
  return add_lanes(lane);
}

double syz_search_score(const search_frame *f, const float *query, double query_inverse, const float *row,
                        double row_inverse)
{
  if (f->metric == SYZ_METRIC_EUCLIDEAN) return -syz_search_squares(query, row, f->width);
  return syz_search_product(query, row, f->width) * query_inverse * row_inverse;
}

search_estimate syz_search_cosine_estimate(const float *query, double query_inverse, const float *row,
                                           double row_inverse, int64_t width)
{
  enum { MORE = 4 * LANES, FEW = LANES / 2, ROUNDINGS = 8 };
  float lane[MORE] = {0};
  int64_t e = 0;
  for (; e + MORE <= width; e += MORE)
    for (int l = 0; l < MORE; l++) lane[l] += query[e + l] * row[e + l];
  for (int l = 0; e + l < width; l++) lane[l] += query[e + l] * row[e + l];
  for (int half = MORE / 2; half >= FEW; half /= 2)
    for (int l = 0; l < half; l++) lane[l] += lane[l + half];
  double sum = 0;
  for (int l = 0; l < FEW; l++) sum += (double)lane[l];
  /* A lane adds a product in each step and another lane in the end; products below the smallest number are lost; NaN
   * where numbers are too large. */
  const double lengths = query_inverse * row_inverse, steps = (double)(width / MORE + ROUNDINGS);
  const search_estimate is = {sum * lengths, ldexp(steps, -23) + ldexp((double)width * lengths, -125)};
  return isfinite(is.score) && isfinite(is.error) ? is : (search_estimate){0, INFINITY};
}

double syz_search_inverse(const search_frame *f, const float *x)
{
  /* A NaN or an infinity anywhere makes the sum one: squares of finite float32 numbers never overflow a float64. */
  const double sum = syz_search_product(x, x, f->width);
  if (!isfinite(sum) || (f->metric == SYZ_METRIC_COSINE && sum == 0)) return 0;
  return f->metric == SYZ_METRIC_COSINE ? 1 / sqrt(sum) : 1;
}

void syz_search_frame_set(search_frame *f, int64_t n, const float *x, const double *inverse)
{
  const int64_t step = n > SAMPLE ? n / SAMPLE : 1;
  int64_t count = 0;
  double squares = 0;
  memset(f->middle, 0, (size_t)f->width * sizeof *f->middle);
  for (int64_t i = 0; i < n; i += step) {
    if (inverse[i] == 0) continue;
    count++;
    for (int64_t e = 0; e < f->width; e++) f->middle[e] += (double)x[i * f->width + e] * inverse[i];
  }
  for (int64_t e = 0; count && e < f->width; e++) f->middle[e] /= (double)count;
  for (int64_t i = 0; i < n; i += step)
    for (int64_t e = 0; inverse[i] != 0 && e < f->width; e++) {
      const double d = (double)x[i * f->width + e] * inverse[i] - f->middle[e];
      squares += d * d;
    }
  f->factor = 1;
  if (count && squares > 0) f->factor = exp2(-rint(log2(squares / (double)count) / 2));
}

typedef struct lengths {
  double whole, rest; /* |y|, |y - y'| */
} lengths;

/* y' of y = factor (x inverse - middle), a piece at a time, with sums in lanes. */
static lengths round_row(const search_frame *f, const float *x, double inverse, syz_dtype act, unsigned char *rounded)
{
  double whole[LANES] = {0}, rest[LANES] = {0}, y[PIECE];
  float single[PIECE];
  for (int64_t first = 0; first < f->width; first += PIECE) {
    const int64_t n = f->width - first < PIECE ? f->width - first : PIECE;
    unsigned char *out = rounded + (size_t)first * syz_dtype_size(act);
    for (int64_t e = 0; e < n; e++) y[e] = ((double)x[first + e] * inverse - f->middle[first + e]) * f->factor;
    for (int64_t e = 0; e < n; e++) single[e] = (float)y[e];
    syz_convert_to_act(act, out, single, n);
    syz_convert_to_f32(act, single, out, n);
    for (int64_t e = n; e < PIECE && e % LANES; e++) y[e] = single[e] = 0;
    for (int64_t e = 0; e < n; e += LANES)
      for (int l = 0; l < LANES; l++) {
        const double d = y[e + l] - (double)single[e + l];
        whole[l] += y[e + l] * y[e + l];
        rest[l] += d * d;
      }
  }
  return (lengths){sqrt(add_lanes(whole)), sqrt(add_lanes(rest))};
}

/* Smallest numbers of one operand: what is below them may be taken for zero, in the operand and in every sum. */
static double smallest(const search_frame *f, double length) { return ldexp((double)f->width * (1 + length), -124); }

search_entry syz_search_entry_make(const search_frame *f, const float *x, double inverse, syz_dtype act, void *rounded,
                                   float *bias)
{
  const lengths y = round_row(f, x, inverse, act, rounded);
  *bias = (float)(-y.whole * y.whole / 2);
  return (search_entry){.length = (float)((y.whole + y.rest) * SAFE),
                        .rest = (float)(y.rest * SAFE),
                        .own = (float)((ldexp(y.whole * y.whole, -22) + smallest(f, y.whole)) * SAFE)};
}

/* Rounding of the float64 numbers themselves, of a cosine above all, whose distance is a small difference. */
static double loss(const search_frame *f, double size) { return ldexp((double)(f->width + 64) * size, -50); }

search_query syz_search_query_make(const search_frame *f, const float *x, double inverse, syz_dtype act, void *rounded)
{
  const lengths a = round_row(f, x, inverse, act, rounded);
  const double rounding = ldexp((double)(f->width + 16), -23) + ldexp(1, -21), whole = a.whole + a.rest;
  const double unit = f->metric == SYZ_METRIC_COSINE ? loss(f, 2 * f->factor * f->factor) : 0;
  return (search_query){.length = (float)((a.rest + whole * rounding) * SAFE),
                        .rest = (float)(whole * SAFE),
                        .own = (float)((smallest(f, whole) + unit) * SAFE),
                        .half = a.whole * a.whole / 2};
}

float syz_search_level(const search_frame *f, const search_query *q, double score, bool is_most)
{
  const double squares = f->factor * f->factor;
  const double part = squares * (f->metric == SYZ_METRIC_COSINE ? score - 1 : score / 2);
  const double level = part + q->half,
               lost =
                   loss(f, fabs(part) + q->half + squares * (f->metric == SYZ_METRIC_COSINE)) + ldexp(fabs(level), -22);
  return (float)(is_most ? level + lost : level - lost);
}
