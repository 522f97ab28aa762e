/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Profiles on the canvas. A radial profile is tabulated once in the square root of the radius (dense where a Sersic
 * cusp is steep) and looked up per sample; near the centre pixels are averaged over sub-samples.
 */
#include "canvas.h"

#include <math.h>

enum { TABLE = 1024 };

typedef struct radial {
  float value[TABLE + 2]; /* at sqrt(r / cut) = i / TABLE */
  double cut;             /* pixels */
} radial;

/* Sersic 1963; b(n) of Ciotti & Bertin 1999 (A&A 352, 447). Tapered over the last eighth. Total flux 1 on the plane for
 * axis ratio q. */
static void tabulate_sersic(radial *t, double n, double re, double cut_in_re, double q)
{
  double b = 2.0 * n - 1.0 / 3.0 + 4.0 / (405.0 * n) + 46.0 / (25515.0 * n * n), sum = 0.0, before = 0.0,
         before_r = 0.0;
  double profile[TABLE + 1];
  t->cut = cut_in_re * re;
  for (int i = 0; i <= TABLE; i++) {
    double s = (double)i / TABLE, r = s * s * cut_in_re;
    profile[i] = exp(-b * (pow(r, 1.0 / n) - 1.0));
    double edge = (s * s - 0.875) / 0.125;
    if (edge > 0.0) profile[i] *= (1.0 - edge * edge) * (1.0 - edge * edge);
    double now = profile[i] * r;
    sum += 0.5 * (now + before) * (r - before_r);
    before = now;
    before_r = r;
  }
  double scale = 1.0 / (2.0 * SYZ_PI * q * re * re * sum);
  for (int i = 0; i <= TABLE; i++) t->value[i] = (float)(profile[i] * scale);
  t->value[TABLE] = t->value[TABLE + 1] = 0.0f;
}

static inline float look_up(const radial *t, float r2_over_cut2)
{
  if (!(r2_over_cut2 < 1.0f)) return 0.0f;
  float u = sqrtf(sqrtf(r2_over_cut2)) * TABLE;
  int i = (int)u;
  return t->value[i] + (u - (float)i) * (t->value[i + 1] - t->value[i]);
}

/* Mean of the profile over a pixel, from k x k samples; (u, v) from the centre of the profile. */
static float sample(const radial *t, const sim_ellipse *e, double u, double v, int k)
{
  float c = (float)cos(e->angle), s = (float)sin(e->angle), major = (float)(1.0 / t->cut),
        minor = (float)(1.0 / (t->cut * e->q)), sum = 0.0f;
  for (int j = 0; j < k; j++)
    for (int i = 0; i < k; i++) {
      float x = (float)(u + (i + 0.5) / k - 0.5), y = (float)(v + (j + 0.5) / k - 0.5);
      float a = (y * c - x * s) * major, b = (x * c + y * s) * minor;
      sum += look_up(t, a * a + b * b);
    }
  return sum / (float)(k * k);
}

/* Bounds of [centre - reach, centre + reach] on the canvas. */
static void bounds(double centre, double reach, int *from, int *to)
{
  *from = (int)sim_clip(floor(centre - reach), -MARGIN, STAMP + MARGIN);
  *to = (int)sim_clip(ceil(centre + reach), -MARGIN - 1, STAMP + MARGIN - 1);
}

static bool is_inside(double x, double y, double reach)
{
  return x - reach > -MARGIN && y - reach > -MARGIN && x + reach < STAMP + MARGIN - 1 && y + reach < STAMP + MARGIN - 1;
}

void sim_draw_sersic(float *canvas, const sim_ellipse *e, double n, double flux)
{
  radial t;
  int x0, x1, y0, y1;
  tabulate_sersic(&t, n, e->radius, n > 1.5 ? 8.0 : 5.0, e->q);
  bounds(e->x, t.cut, &x0, &x1);
  bounds(e->y, t.cut, &y0, &y1);
  float c = (float)cos(e->angle), s = (float)sin(e->angle), major = (float)(1.0 / t.cut),
        minor = (float)(1.0 / (t.cut * e->q));
  /* Two passes: first the sum of the samples, if the profile is wholly on the canvas, then the exact flux. */
  bool exact = is_inside(e->x, e->y, t.cut);
  float scale = (float)flux;
  for (int pass = exact ? 0 : 1; pass < 2; pass++) {
    double sum = 0.0;
    for (int y = y0; y <= y1; y++) {
      float *row = canvas + (y + MARGIN) * CANVAS + MARGIN;
      float v = (float)(y - e->y), line = 0.0f;
      for (int x = x0; x <= x1; x++) {
        float u = (float)(x - e->x), r2 = u * u + v * v, value;
        if (r2 < 9.0f) {
          value = sample(&t, e, u, v, 15);
        } else if (r2 < 196.0f) {
          value = sample(&t, e, u, v, 3);
        } else {
          float a = (v * c - u * s) * major, b = (u * c + v * s) * minor;
          value = look_up(&t, a * a + b * b);
        }
        line += value;
        if (pass == 1) row[x] += scale * value;
      }
      sum += line;
    }
    if (pass == 0 && sum > 0.1) scale = (float)(flux / sum);
  }
}

void sim_draw_bar(float *canvas, const sim_ellipse *e, double length, double q, double angle)
{
  int x0, x1, y0, y1;
  bounds(e->x, length, &x0, &x1);
  bounds(e->y, length, &y0, &y1);
  double c = cos(e->angle), s = sin(e->angle), cb = cos(angle), sb = sin(angle);
  /* Surface density (1 - m^2)^2 has the integral pi a b / 3; projection shrinks areas by e->q. */
  double norm = 3.0 / (SYZ_PI * length * length * q * e->q), sum = 0.0;
  bool exact = is_inside(e->x, e->y, length);
  double scale = norm;
  for (int pass = exact ? 0 : 1; pass < 2; pass++)
    for (int y = y0; y <= y1; y++)
      for (int x = x0; x <= x1; x++) {
        double value = 0.0;
        for (int k = 0; k < 9; k++) {
          double u = x - e->x + (k % 3 - 1) / 3.0, v = y - e->y + (k / 3 - 1) / 3.0, a = v * c - u * s,
                 b = (u * c + v * s) / e->q;
          double along = (a * cb + b * sb) / length, off = (b * cb - a * sb) / (length * q),
                 m2 = along * along + off * off;
          if (m2 < 1.0) value += (1.0 - m2) * (1.0 - m2) / 9.0;
        }
        if (pass == 0)
          sum += value;
        else
          canvas[(y + MARGIN) * CANVAS + MARGIN + x] += (float)(scale * value);
        if (pass == 0 && y == y1 && x == x1 && sum > 0.0) scale = 1.0 / sum;
      }
}

void sim_draw_arms(float *canvas, const sim_ellipse *e, int arms, double pitch, double phase, double power)
{
  enum { PHASES = 512 };
  float wave[PHASES + 1];
  int x0, x1, y0, y1;
  double cut = 6.0 * e->radius;
  bounds(e->x, cut, &x0, &x1);
  bounds(e->y, cut, &y0, &y1);
  double mean = 0.0;
  for (int i = 0; i <= PHASES; i++) {
    wave[i] = (float)pow(0.5 * (1.0 + cos(2.0 * SYZ_PI * i / PHASES)), power);
    if (i < PHASES) mean += wave[i] / PHASES;
  }
  /* Arms begin outside the bulge: the exponential is multiplied by 1 - exp(-(r/h)^2). Integral of r exp(-r)(1 -
   * exp(-r^2)) to 6. */
  double plane = 0.0;
  for (int i = 0; i < 600; i++) {
    double r = (i + 0.5) * 0.01;
    plane += r * exp(-r) * -expm1(-r * r) * 0.01;
  }
  double norm = 1.0 / (2.0 * SYZ_PI * e->q * e->radius * e->radius * plane * mean), winding = 1.0 / tan(pitch);
  float c = (float)cos(e->angle), s = (float)sin(e->angle), major = (float)(1.0 / e->radius),
        minor = (float)(1.0 / (e->radius * e->q));
  /* Drawn in two passes if it fits the canvas: the first sums the samples, so that narrow, tightly wound arms also get
   * their exact flux. */
  double scale = norm, sum = 0.0;
  for (int pass = is_inside(e->x, e->y, cut) ? 0 : 1; pass < 2; pass++) {
    for (int y = y0; y <= y1; y++)
      for (int x = x0; x <= x1; x++) {
        float u = (float)(x - e->x), v = (float)(y - e->y), a = (v * c - u * s) * major, b = (u * c + v * s) * minor,
              r2 = a * a + b * b;
        if (r2 > 36.0f || r2 < 1e-6f) continue;
        float r = sqrtf(r2), turn = (float)arms * (atan2f(b, a) - 0.5f * logf(r2) * (float)winding) + (float)phase;
        turn *= 0.15915494f;
        turn = (turn - floorf(turn)) * PHASES;
        float value = expf(-r) * (1.0f - expf(-r2)) * wave[(int)turn < PHASES ? (int)turn : 0];
        if (pass == 0)
          sum += value;
        else
          canvas[(y + MARGIN) * CANVAS + MARGIN + x] += (float)scale * value;
      }
    if (pass == 0 && sum > 0.0) scale = 1.0 / sum;
  }
}

/* Share of a unit Gaussian within a pixel at distance d (pixels), per axis. */
static double gauss_pixel(double d, double sigma)
{
  double n = 0.70710678118654752 / sigma;
  return 0.5 * (erf((d + 0.5) * n) - erf((d - 0.5) * n));
}

static void draw_gauss(float *canvas, double x, double y, double sigma, double flux)
{
  enum { WIDE = 2 * 160 + 3 };
  double row[WIDE];
  int x0, x1, y0, y1;
  double reach = fmin(5.0 * sigma + 1.0, 160.0);
  bounds(x, reach, &x0, &x1);
  bounds(y, reach, &y0, &y1);
  for (int i = x0; i <= x1; i++) row[i - x0] = gauss_pixel(i - x, sigma);
  for (int j = y0; j <= y1; j++) {
    double line = flux * gauss_pixel(j - y, sigma);
    for (int i = x0; i <= x1; i++) canvas[(j + MARGIN) * CANVAS + MARGIN + i] += (float)(line * row[i - x0]);
  }
}

void sim_draw_tail(float *canvas, double x, double y, double length, double angle, double pitch, double width,
                   double flux)
{
  enum { BEADS = 40 };
  double total = 0.0;
  for (int k = 0; k < BEADS; k++) total += 1.0 - 0.6 * k / BEADS;
  for (int k = 0; k < BEADS; k++) {
    double f = (k + 0.5) / BEADS, r = length * (0.15 + 0.85 * f), turn = angle + pitch * f,
           share = (1.0 - 0.6 * k / BEADS) / total;
    draw_gauss(canvas, x + r * cos(turn), y + r * sin(turn), fmax(0.7, width * (0.5 + f)), flux * share);
  }
}

void sim_draw_star(float *const canvas[SYZ_BANDS], double x, double y, const double flux[SYZ_BANDS])
{
  for (int b = 0; b < SYZ_BANDS; b++) draw_gauss(canvas[b], x, y, 0.5, flux[b]);
}

void sim_draw_small_galaxy(float *const canvas[SYZ_BANDS], double x, double y, double re, double q, double angle,
                           const double flux[SYZ_BANDS])
{
  int x0, x1, y0, y1;
  double h = fmax(re, 0.3) / 1.67835, reach = 6.0 * h + 1.0, c = cos(angle), s = sin(angle), sum = 0.0;
  bounds(x, reach, &x0, &x1);
  bounds(y, reach, &y0, &y1);
  bool exact = is_inside(x, y, reach);
  double scale = 1.0 / (2.0 * SYZ_PI * q * h * h);
  for (int pass = exact ? 0 : 1; pass < 2; pass++) {
    for (int j = y0; j <= y1; j++)
      for (int i = x0; i <= x1; i++) {
        double value = 0.0;
        for (int k = 0; k < 4; k++) {
          double u = i - x + (k % 2 - 0.5) * 0.5, v = j - y + (k / 2 - 0.5) * 0.5, a = (v * c - u * s) / h,
                 b = (u * c + v * s) / (h * q);
          value += 0.25 * exp(-sqrt(a * a + b * b));
        }
        if (pass == 0) {
          sum += value;
        } else {
          size_t at = (size_t)(j + MARGIN) * CANVAS + (size_t)(MARGIN + i);
          for (int k = 0; k < SYZ_BANDS; k++) canvas[k][at] += (float)(scale * value * flux[k]);
        }
      }
    if (pass == 0 && sum > 0.0) scale = 1.0 / sum;
  }
}
