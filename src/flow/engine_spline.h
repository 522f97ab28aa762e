/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The rational-quadratic spline of one label for one tile of objects; formulas in engine.h.
 *
 * A table has 4 K rows: widths, heights, slopes (K + 1), derivatives of the softplus (K - 1). `bin` has BIN_ROWS rows:
 * what is known of the bin that holds the label.
 */
#pragma once

#include "engine_math.h"

#define SMALLEST ((REAL)1e-3) /* least width, height (in shares of the box) and slope */
enum { BIN_X, BIN_WIDTH, BIN_Y, BIN_HEIGHT, BIN_SLOPE, BIN_NEXT_SLOPE, BIN_PLACE, BIN_ROWS };
#define EACH(i) for (int i = 0; i < FLOW_TILE; i++)
typedef REAL row[FLOW_TILE];

/* K raw rows -> sizes of bins, which add up to 2 B. */
static void spline_sizes(int bins, REAL bound, const row *raw, row *size)
{
  row most, sum = {0};
  memcpy(most, raw[0], sizeof most);
  for (int k = 1; k < bins; k++) EACH(i) most[i] = raw[k][i] > most[i] ? raw[k][i] : most[i];
  for (int k = 0; k < bins; k++) EACH(i)
    {
      const REAL e = exp_of(raw[k][i] - most[i]);
      size[k][i] = e;
      sum[i] += e;
    }
  const REAL least = 2 * bound * SMALLEST, rest = 2 * bound * (1 - SMALLEST * (REAL)bins);
  EACH(i) sum[i] = rest / sum[i];
  for (int k = 0; k < bins; k++) EACH(i) size[k][i] = least + size[k][i] * sum[i];
}

static void spline_table(const syz_flow_shape *s, const row *width, const row *height, const row *slope, row *table)
{
  const int bins = s->bins;
  row *d = table + 2 * bins, *derivative = table + 3 * bins + 1;
  spline_sizes(bins, (REAL)s->bound, width, table);
  spline_sizes(bins, (REAL)s->bound, height, table + bins);
  EACH(i) d[0][i] = d[bins][i] = (REAL)s->end_slope;
  for (int k = 0; k < bins - 1; k++) EACH(i)
    {
      REAL g;
      d[k + 1][i] = SMALLEST + softplus_of(slope[k][i], &g);
      derivative[k][i] = g;
    }
}

/* The bin that holds value: by x (towards the base), or by y (back). */
INLINE void spline_find(const syz_flow_shape *s, const row *table, const bool by_x, const REAL *value, row *bin)
{
  const int bins = s->bins;
  const row *width = table, *height = table + bins, *slope = table + 2 * bins;
  row x, y;
  EACH(i)
  {
    bin[BIN_X][i] = bin[BIN_Y][i] = x[i] = y[i] = -(REAL)s->bound;
    bin[BIN_WIDTH][i] = width[0][i];
    bin[BIN_HEIGHT][i] = height[0][i];
    bin[BIN_SLOPE][i] = slope[0][i];
    bin[BIN_NEXT_SLOPE][i] = slope[1][i];
    bin[BIN_PLACE][i] = 0;
  }
  for (int k = 1; k < bins; k++) EACH(i)
    {
      /* Read without a condition: under one the compiler makes masked loads and stores, four times as slow. */
      const REAL w = width[k][i], h = height[k][i], d0 = slope[k][i], d1 = slope[k + 1][i];
      const REAL x_there = x[i] + width[k - 1][i], y_there = y[i] + height[k - 1][i];
      const bool is_here = value[i] >= (by_x ? x_there : y_there);
      const REAL old_x = bin[BIN_X][i], old_y = bin[BIN_Y][i], old_w = bin[BIN_WIDTH][i], old_h = bin[BIN_HEIGHT][i];
      const REAL old_d0 = bin[BIN_SLOPE][i], old_d1 = bin[BIN_NEXT_SLOPE][i], old_place = bin[BIN_PLACE][i];
      x[i] = x_there;
      y[i] = y_there;
      bin[BIN_X][i] = is_here ? x_there : old_x;
      bin[BIN_Y][i] = is_here ? y_there : old_y;
      bin[BIN_WIDTH][i] = is_here ? w : old_w;
      bin[BIN_HEIGHT][i] = is_here ? h : old_h;
      bin[BIN_SLOPE][i] = is_here ? d0 : old_d0;
      bin[BIN_NEXT_SLOPE][i] = is_here ? d1 : old_d1;
      bin[BIN_PLACE][i] = is_here ? (REAL)k : old_place;
    }
}

/* z = F(y); log_slope += log F'. Here and below all is computed for labels outside of the box too, at the lower end of
 * a bin, and chosen at the end: a branch would keep the compiler from vectors. */
static void spline_forward(const syz_flow_shape *s, const row *table, const REAL *restrict y, row *restrict bin,
                           REAL *restrict z, REAL *restrict log_slope)
{
  const REAL bound = (REAL)s->bound, one = 1;
  row growth;
  spline_find(s, table, true, y, bin);
  EACH(i)
  {
    const REAL value = y[i], x = bin[BIN_X][i], edge = bin[BIN_Y][i];
    const REAL w = bin[BIN_WIDTH][i], h = bin[BIN_HEIGHT][i], d0 = bin[BIN_SLOPE][i], d1 = bin[BIN_NEXT_SLOPE][i];
    const REAL size = value < 0 ? -value : value, place = (value - x) / w;
    const REAL t = size <= bound ? place : 0, m = h / w, u = t * (one - t);
    const REAL below = m + (d0 + d1 - 2 * m) * u, over = m * t * t + d0 * u;
    const REAL slope = d1 * t * t + 2 * m * u + d0 * (one - t) * (one - t), ratio = m / below;
    const REAL there = edge + h * over / below, steepness = slope * ratio * ratio;
    z[i] = size <= bound ? there : value;
    growth[i] = size <= bound ? steepness : one;
  }
  EACH(i) log_slope[i] += log_of(growth[i]);
}

static void spline_inverse(const syz_flow_shape *s, const row *table, const REAL *restrict z, row *restrict bin,
                           REAL *restrict y)
{
  const REAL bound = (REAL)s->bound;
  spline_find(s, table, false, z, bin);
  EACH(i)
  {
    const REAL value = z[i], x = bin[BIN_X][i], edge = bin[BIN_Y][i];
    const REAL w = bin[BIN_WIDTH][i], h = bin[BIN_HEIGHT][i], d0 = bin[BIN_SLOPE][i], d1 = bin[BIN_NEXT_SLOPE][i];
    const REAL size = value < 0 ? -value : value, m = h / w, rise = value - edge, v = size <= bound ? rise : 0;
    const REAL bend = v * (d0 + d1 - 2 * m), a = bend + h * (m - d0), b = h * d0 - bend, c = -m * v;
    const REAL square = b * b - 4 * a * c, positive = square > 0 ? square : 0;
    const REAL there = x + w * (2 * c / (-b - root_of(positive)));
    y[i] = size <= bound ? there : value;
  }
}

/* Gradients of the loss by x_k, w_k, y_k, h_k, d_k, d_k+1 in the bin, from those by z and by log F'; dy +=. */
static void spline_bin_backward(const syz_flow_shape *s, const row *restrict bin, const REAL *restrict y,
                                const REAL *restrict dz, const REAL *restrict dlog_slope, REAL *restrict dy,
                                row *restrict dbin)
{
  const REAL bound = (REAL)s->bound, one = 1;
  EACH(i)
  {
    const REAL value = y[i], size = value < 0 ? -value : value, before = dy[i], upper = dz[i],
               log_upper = dlog_slope[i];
    const REAL w = bin[BIN_WIDTH][i], h = bin[BIN_HEIGHT][i], d0 = bin[BIN_SLOPE][i], d1 = bin[BIN_NEXT_SLOPE][i];
    const REAL place = (value - bin[BIN_X][i]) / w, t = size <= bound ? place : 0, r = one - t, m = h / w, u = t * r,
               bend = d0 + d1 - 2 * m;
    const REAL below = m + bend * u, over = m * t * t + d0 * u, slope = d1 * t * t + 2 * m * u + d0 * r * r;
    const REAL gz = size <= bound ? upper : 0, gl = size <= bound ? log_upper : 0;
    const REAL g_over = gz * h / below, g_below = -g_over * over / below - 2 * gl / below, g_slope = gl / slope;
    const REAL gm = 2 * gl / m + g_slope * 2 * u + g_over * t * t + g_below * (one - 2 * u);
    const REAL gu = g_slope * 2 * m + g_over * d0 + g_below * bend;
    const REAL gt = g_slope * 2 * (d1 * t - d0 * r) + g_over * 2 * m * t + gu * (one - 2 * t), step = gt / w;
    dbin[BIN_X][i] = -step;
    dbin[BIN_WIDTH][i] = -step * t - gm * m / w;
    dbin[BIN_Y][i] = gz;
    dbin[BIN_HEIGHT][i] = gz * over / below + gm / w;
    dbin[BIN_SLOPE][i] = g_slope * r * r + g_over * u + g_below * u;
    dbin[BIN_NEXT_SLOPE][i] = g_slope * t * t + g_below * u;
    const REAL outside = before + upper, in_box = before + step;
    dy[i] = size <= bound ? in_box : outside;
  }
}

/* Gradients by the raw rows of sizes: bins before the label's move its edge, its own bin has its size. */
static void spline_sizes_backward(int bins, REAL bound, const row *size, const REAL *place, const REAL *dedge,
                                  const REAL *dsize, row *draw)
{
  const REAL least = 2 * bound * SMALLEST, rest = 2 * bound * (1 - SMALLEST * (REAL)bins);
  row mean = {0};
  for (int k = 0; k < bins; k++) EACH(i)
    {
      const REAL g = (place[i] > (REAL)k ? dedge[i] : 0) + (place[i] == (REAL)k ? dsize[i] : 0);
      const REAL share = (size[k][i] - least) / rest; /* the softmax */
      draw[k][i] = g;
      mean[i] += share * g;
    }
  for (int k = 0; k < bins; k++) EACH(i) draw[k][i] = (size[k][i] - least) * (draw[k][i] - mean[i]);
}

static void spline_backward(const syz_flow_shape *s, const row *table, const row *bin, const REAL *y, const REAL *dz,
                            const REAL *dlog_slope, REAL *dy, row *dwidth, row *dheight, row *dslope)
{
  const int bins = s->bins;
  const row *derivative = table + 3 * bins + 1;
  row dbin[BIN_ROWS];
  spline_bin_backward(s, bin, y, dz, dlog_slope, dy, dbin);
  spline_sizes_backward(bins, (REAL)s->bound, table, bin[BIN_PLACE], dbin[BIN_X], dbin[BIN_WIDTH], dwidth);
  spline_sizes_backward(bins, (REAL)s->bound, table + bins, bin[BIN_PLACE], dbin[BIN_Y], dbin[BIN_HEIGHT], dheight);
  for (int k = 0; k < bins - 1; k++) EACH(i)
    {
      const REAL place = bin[BIN_PLACE][i], here = (REAL)(k + 1); /* slope k + 1 begins bin k + 1 and ends bin k */
      const REAL g = (place == here ? dbin[BIN_SLOPE][i] : 0) + (place + 1 == here ? dbin[BIN_NEXT_SLOPE][i] : 0);
      dslope[k][i] = g * derivative[k][i];
    }
}
