/* SPDX-License-Identifier: BSD-3-Clause */
/* Pictures of objects: colour stamps as PNG inside the page, spectra as SVG. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "syzygy/picture.h"
#include "syzygy/sky.h"

enum { SIDE = SYZ_IMAGE_SIZE, PIXELS = SIDE * SIDE };

/* ---------------------------------------------------------------- stamps */

syz_status syz_stamp_png(const float *image, unsigned char **png, size_t *n)
{
  syz_status st = SYZ_OK;
  float *planes = NULL;
  unsigned char *rgb = NULL;
  *png = NULL;
  SYZ_ALLOC(planes, "stamp planes", 3 * PIXELS);
  SYZ_ALLOC(rgb, "stamp pixels", 3 * PIXELS);
  syz_colour_map(planes, image, PIXELS);
  syz_planes_to_rgb(planes, SIDE, rgb);
  SYZ_TRY(syz_png_encode(rgb, SIDE, SIDE, png, n));
cleanup:
  syz_free(&planes);
  syz_free(&rgb);
  return st;
}

void syz_page_base64(syz_page *p, const unsigned char *data, size_t n)
{
  static const char letter[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char out[4096];
  size_t used = 0;
  for (size_t i = 0; i < n; i += 3) {
    unsigned v =
        (unsigned)data[i] << 16 | (i + 1 < n ? (unsigned)data[i + 1] << 8 : 0) | (i + 2 < n ? data[i + 2] : 0u);
    out[used++] = letter[v >> 18];
    out[used++] = letter[v >> 12 & 63];
    out[used++] = i + 1 < n ? letter[v >> 6 & 63] : '=';
    out[used++] = i + 2 < n ? letter[v & 63] : '=';
    if (used == sizeof out || i + 3 >= n) {
      syz_page_bytes(p, out, used);
      used = 0;
    }
  }
}

syz_status syz_page_stamp(syz_page *p, const float *image, const char *alt, const char *css)
{
  syz_status st = SYZ_OK;
  unsigned char *png = NULL;
  size_t n = 0;
  SYZ_TRY(syz_stamp_png(image, &png, &n));
  syz_page_printf(p, "<img class=\"%s\" width=\"%d\" height=\"%d\" alt=\"", css, SIDE, SIDE);
  syz_page_escape(p, alt);
  syz_page_put(p, "\" src=\"data:image/png;base64,");
  syz_page_base64(p, png, n);
  syz_page_put(p, "\">");
cleanup:
  syz_free(&png);
  return st;
}

/* --------------------------------------------------------------- spectra */

typedef struct line {
  const char *name;
  double wave_A; /* rest frame, vacuum */
  bool is_major; /* named in large plots */
} line;

/* NIST vacuum wavelengths as in DESI's line lists; doublets at their mean. */
static const line lines[] = {
    {"[O II]", 3728.5, true},     {"Ca K", 3934.8, false},     {"Ca H", 3969.6, true},    {"H\xce\xb4", 4102.9, false},
    {"H\xce\xb3", 4341.7, false}, {"H\xce\xb2", 4862.7, true}, {"[O III]", 5008.2, true}, {"Mg b", 5176.6, true},
    {"Na D", 5895.6, true},       {"H\xce\xb1", 6564.6, true}, {"[S II]", 6725.5, true},
};

typedef struct frame {
  int width, height, left, right, top, bottom;
  int points; /* drawn */
  double low, high;
} frame;

static double x_of(const frame *f, double wave)
{
  double last = syz_wave_grid(SYZ_SPECTRUM_PIXELS - 1);
  return f->left + (wave - SYZ_WAVE_FIRST_A) / (last - SYZ_WAVE_FIRST_A) * (f->width - f->left - f->right);
}

static double y_of(const frame *f, double flux)
{
  return f->top + (f->high - flux) / (f->high - f->low) * (f->height - f->top - f->bottom);
}

/* Mean of each stretch weighted by inverse variance, which smooths and thins at once. Stretches without a good pixel
 * are NaN. */
static void thin(const float *flux, const float *ivar, int points, double *mean)
{
  for (int k = 0; k < points; k++) {
    double sum = 0, weights = 0;
    int64_t from = (int64_t)SYZ_SPECTRUM_PIXELS * k / points, to = (int64_t)SYZ_SPECTRUM_PIXELS * (k + 1) / points;
    for (int64_t i = from; i < to; i++) {
      double w = ivar ? (double)ivar[i] : 1;
      if (!(w > 0) || !isfinite((double)flux[i]) || !isfinite(w)) continue;
      sum += w * (double)flux[i];
      weights += w;
    }
    mean[k] = weights > 0 ? sum / weights : (double)NAN;
  }
}

static int ascending(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* The vertical range: without the lowest half per cent, and up to the strongest line unless it dwarfs the rest. */
static bool fit_range(frame *f, const double *mean, double *scratch)
{
  int n = 0;
  for (int k = 0; k < f->points; k++)
    if (isfinite(mean[k])) scratch[n++] = mean[k];
  if (n < 2) return false;
  qsort(scratch, (size_t)n, sizeof *scratch, ascending);
  double low = scratch[n / 100], median = scratch[n / 2], high = scratch[n - 1 - n / 400],
         bulk = scratch[n - 1 - n / 20];
  high = fmin(high, median + 6 * fmax(bulk - median, 1e-6));
  high = fmax(high, bulk);
  double margin = 0.08 * fmax(high - low, 1e-6);
  f->low = fmin(low - margin, 0);
  f->high = high + margin;
  return true;
}

static void draw_lines(syz_page *p, const frame *f, double redshift, bool is_large)
{
  double last_label = -1e9;
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    double wave = lines[i].wave_A * (1 + redshift), x = x_of(f, wave);
    if (wave < SYZ_WAVE_FIRST_A || wave > syz_wave_grid(SYZ_SPECTRUM_PIXELS - 1) || (!is_large && !lines[i].is_major))
      continue;
    syz_page_printf(p,
                    "<line class=\"k1 faint\" stroke-dasharray=\"2 3\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>",
                    x, x, f->top, f->height - f->bottom);
    if (is_large && lines[i].is_major && x - last_label > 38) {
      syz_page_printf(p, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", x, f->top - 5, lines[i].name);
      last_label = x;
    }
  }
  syz_page_put(p, "\n");
}

static void draw_frame(syz_page *p, const frame *f)
{
  double tick[12];
  int n = syz_chart_ticks(f->low, f->high, 3, tick, 12);
  for (int i = 0; i < n; i++)
    syz_page_printf(p,
                    "<line class=\"gridline\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" "
                    "text-anchor=\"end\">%.4g</text>",
                    f->left, f->width - f->right, y_of(f, tick[i]), y_of(f, tick[i]), f->left - 7, y_of(f, tick[i]) + 4,
                    tick[i] == 0 ? 0.0 : tick[i]);
  for (int wave = 4000; wave <= 9000; wave += 1000)
    syz_page_printf(p,
                    "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/><text x=\"%.1f\" y=\"%d\" "
                    "text-anchor=\"middle\">%d</text>",
                    x_of(f, wave), x_of(f, wave), f->height - f->bottom, f->height - f->bottom + 4, x_of(f, wave),
                    f->height - f->bottom + 17, wave);
  syz_page_printf(p, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>", f->left, f->width - f->right,
                  f->height - f->bottom, f->height - f->bottom);
  syz_page_printf(p, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">observed wavelength (\xc3\x85, vacuum)</text>",
                  (f->left + f->width - f->right) / 2, f->height - 4);
  syz_page_printf(p,
                  "<text transform=\"translate(12 %d) rotate(-90)\" text-anchor=\"middle\">flux "
                  "(10\xe2\x81\xbb\xc2\xb9\xe2\x81\xb7 erg/s/cm\xc2\xb2/\xc3\x85)</text>\n",
                  (f->top + f->height - f->bottom) / 2);
}

/* Means of stretches as a curve; gaps where there is none. */
static void draw_curve(syz_page *p, const frame *f, const double *mean, const char *classes, const char *width)
{
  bool is_open = false;
  syz_page_printf(p, "<path class=\"curve %s\" style=\"stroke-width:%s\" d=\"", classes, width);
  for (int k = 0; k < f->points; k++) {
    if (isfinite(mean[k])) {
      double wave = syz_wave_grid((int64_t)SYZ_SPECTRUM_PIXELS * k / f->points) +
                    0.5 * SYZ_WAVE_STEP_A * SYZ_SPECTRUM_PIXELS / f->points;
      syz_page_printf(p, "%c%.1f %.1f", is_open ? 'L' : 'M', x_of(f, wave),
                      y_of(f, fmin(fmax(mean[k], f->low), f->high)));
    }
    is_open = isfinite(mean[k]);
  }
  syz_page_put(p, "\"/>");
}

enum { LARGE_POINTS = 648, SMALL_POINTS = 216 }; /* 12 and 36 pixels of 0.8 A: 10 and 29 A */

static frame begin_spectrum(syz_page *p, bool is_large, const char *alt)
{
  frame f = is_large ? (frame){720, 220, 52, 8, 22, 42, LARGE_POINTS, 0, 0}
                     : (frame){180, 60, 0, 0, 2, 2, SMALL_POINTS, 0, 0};
  syz_page_printf(p, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", f.width, f.height);
  syz_page_escape(p, alt);
  syz_page_put(p, "\">");
  return f;
}

static void end_empty(syz_page *p, const frame *f)
{
  syz_page_printf(p, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">no good pixel</text></svg>", f->width / 2,
                  f->height / 2);
}

void syz_page_spectrum(syz_page *p, const float *flux, const float *ivar, double redshift, bool is_large,
                       const char *alt)
{
  double mean[LARGE_POINTS], scratch[LARGE_POINTS];
  frame f = begin_spectrum(p, is_large, alt);
  thin(flux, ivar, f.points, mean);
  if (!fit_range(&f, mean, scratch)) {
    end_empty(p, &f);
    return;
  }
  if (is_large) draw_frame(p, &f);
  if (isfinite(redshift)) draw_lines(p, &f, redshift, is_large);
  draw_curve(p, &f, mean, "k0", is_large ? "1.3" : "1.1");
  syz_page_put(p, "</svg>\n");
}

void syz_page_hidden_spectrum(syz_page *p, const syz_hidden_spectrum *s, const char *alt)
{
  double mean[LARGE_POINTS], scratch[LARGE_POINTS];
  frame f = begin_spectrum(p, true, alt);
  thin(s->flux, s->ivar, f.points, mean);
  if (!fit_range(&f, mean, scratch)) {
    end_empty(p, &f);
    return;
  }
  for (int64_t i = 0; i < SYZ_SPECTRUM_PIXELS; i++) {
    int64_t first = i;
    while (i < SYZ_SPECTRUM_PIXELS && s->hidden[i]) i++;
    if (i - first < 2) continue; /* an isolated pixel that no section has */
    double from = x_of(&f, syz_wave_grid(first)), to = x_of(&f, syz_wave_grid(i - 1));
    syz_page_printf(p,
                    "<rect style=\"fill:var(--line);opacity:.55\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>",
                    from, f.top, to - from, f.height - f.bottom - f.top);
  }
  draw_frame(p, &f);
  if (isfinite(s->redshift)) draw_lines(p, &f, s->redshift, true);
  draw_curve(p, &f, mean, "k0", "1.3");
  thin(s->interpolation, NULL, f.points, mean);
  draw_curve(p, &f, mean, "k2 dashed", "1.4");
  thin(s->reconstruction, NULL, f.points, mean);
  draw_curve(p, &f, mean, "k1", "1.6");
  syz_page_put(p, "</svg>\n");
}
