/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The Legacy Survey viewer's colour mapping, branch-free so that the compiler vectorises it (libm's asinhf is one call
 * per pixel).
 *
 * asinh(t) = log1p(u), u = t + t^2 / (1 + sqrt(1 + t^2)), t >= 0. With w = fl(1 + u), log1p(u) = log(w) + (u - (w - 1))
 * / w to first order in the rounding of w; log(w) = e log 2 + log(m), m in [sqrt(1/2), sqrt(2)), by syz_log_f32.
 */
#include "syzygy/numbers.h"
#include "sky.h"

#include <math.h>

int syz_band_index(char band) { return band == 'g' ? 0 : band == 'r' ? 1 : band == 'z' ? 2 : -1; }

void syz_colour_map(float *restrict planes, const float *restrict image, int64_t n)
{
  const float *g = image, *r = image + n, *z = image + 2 * n;
  float *out_z = planes, *out_r = planes + n, *out_g = planes + 2 * n;
  const float m = 0.03f, Q = 20.0f, root = 4.47213595499957939f;
  for (int64_t i = 0; i < n; i++) {
    float sg = 6.0f * g[i] + m, sr = 3.4f * r[i] + m, sz = 2.2f * z[i] + m;
    float I = ((sg > 0 ? sg : 0) + (sr > 0 ? sr : 0) + (sz > 0 ? sz : 0)) / 3.0f;
    float t = Q * I;
    t = t < 1e18f ? t : 1e18f; /* t^2 stays finite; beyond it the plane is saturated anyway */
    float u = t + t * t / (1.0f + sqrtf(1.0f + t * t));
    float w = 1.0f + u;
    float f = (syz_log_f32(w) + (u - (w - 1.0f)) / w) / root;
    float factor = f / (I > 0 ? I : 1e-6f);
    float a = sz * factor, b = sr * factor, c = sg * factor;
    a = a > 0 ? a : 0;
    b = b > 0 ? b : 0;
    c = c > 0 ? c : 0;
    out_z[i] = a < 1 ? a : 1;
    out_r[i] = b < 1 ? b : 1;
    out_g[i] = c < 1 ? c : 1;
  }
}
