/* SPDX-License-Identifier: BSD-3-Clause */
/* Line charts, scatter and histograms as inline SVG: drawn at a fixed size in user units and scaled by the browser,
 * coloured by the page's styles. */
#include <math.h>
#include <stdio.h>

#include "report.h"

enum { WIDTH = 560, HEIGHT = 300, LEFT = 70, RIGHT = 14, TOP = 12, BOTTOM = 46, TICKS_MAX = 16, POINTS_MAX = 700 };
enum { SCATTER_MAX = 1500 /* more points are drawn as their density in cells */, COLUMNS = 68, ROWS = 44, LEVELS = 6 };

int syz_chart_ticks(double low, double high, int wanted, double *tick, int room)
{
  double span = high - low;
  if (!(span > 0) || !isfinite(span)) {
    tick[0] = low;
    return 1;
  }
  double power = pow(10, floor(log10(span / wanted))), rest = span / wanted / power;
  double step = (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10) * power;
  int n = 0;
  for (double k = ceil(low / step - 1e-9); k * step <= high + 1e-9 * span && n < room; k++) tick[n++] = k * step;
  return n;
}

/* One axis: data range, then data to user units. */
typedef struct axis {
  bool is_log;
  double low, high; /* in log10 when is_log */
  double from, to;  /* user units */
} axis;

static double along(const axis *a, double v)
{
  double t = ((a->is_log ? log10(v) : v) - a->low) / (a->high - a->low);
  return a->from + t * (a->to - a->from);
}

/* Numbers of which even the square is finite, so that ranges are. */
static bool can_show(const axis *a, double v) { return fabs(v) < 1e150 && (!a->is_log || v > 0); }

static void widen(axis *a, double v)
{
  if (!can_show(a, v)) return;
  if (a->is_log) v = log10(v);
  a->low = fmin(a->low, v);
  a->high = fmax(a->high, v);
}

static double half_bar(const syz_band *b) { return b->n > 1 ? fabs(b->x[1] - b->x[0]) / 2 : 0.5; }

static void widen_by_band(axis *a, const syz_band *b, bool is_x)
{
  const double half = b->kind == SYZ_BAND_BARS ? half_bar(b) : 0;
  for (int64_t i = 0; i < b->n; i++) {
    if (!isfinite(b->x[i]) || !isfinite(b->low[i]) || !isfinite(b->high[i])) continue;
    widen(a, is_x ? b->x[i] - half : b->low[i]);
    widen(a, is_x ? b->x[i] + half : b->high[i]);
  }
}

static bool fit_axis(axis *a, const syz_chart *c, bool is_x)
{
  a->low = INFINITY;
  a->high = -INFINITY;
  for (int s = 0; s < c->n_series; s++)
    for (int64_t i = 0; i < c->series[s].n; i++)
      if (isfinite(c->series[s].y[i])) widen(a, is_x ? c->series[s].x[i] : c->series[s].y[i]);
  for (int b = 0; b < c->n_bands; b++) widen_by_band(a, &c->band[b], is_x);
  if (!(a->low <= a->high)) return false;
  double span = a->high - a->low;
  if (!(span > 0)) span = fabs(a->low) > 0 ? 0.2 * fabs(a->low) : 1;
  if (a->high - a->low <= 0 || !is_x) {
    a->high += 0.05 * span;
    if (a->is_log || a->low < 0 || a->low > 0.4 * a->high)
      a->low -= 0.05 * span;
    else
      a->low = 0; /* the axis begins at zero if the data come near it */
  }
  return true;
}

static void tick_text(double v, bool is_log, char text[32])
{
  if (is_log) {
    double value = pow(10, v);
    if (value >= 0.001 && value < 99999)
      snprintf(text, 32, "%g", value);
    else
      snprintf(text, 32, "1e%g", v);
  } else if (fabs(v) >= 1e5 || (v != 0 && fabs(v) < 1e-3))
    snprintf(text, 32, "%.3g", v);
  else
    snprintf(text, 32, "%.6g", fabs(v) < 1e-12 ? 0.0 : v);
}

static int axis_ticks(const axis *a, double *tick)
{
  if (!a->is_log || a->high - a->low < 1) return syz_chart_ticks(a->low, a->high, 5, tick, TICKS_MAX);
  double step = ceil((a->high - a->low) / 6);
  int n = 0;
  for (double v = ceil(a->low - 1e-9); v <= a->high + 1e-9 && n < TICKS_MAX; v += step) tick[n++] = v;
  return n;
}

/* The name of an axis, in smaller letters where it would be longer than the axis. */
static void draw_axis_name(syz_page *p, const char *name, const char *place, int room)
{
  enum { LETTER = 6 }; /* mean width at 12 pixels */
  int letters = 0;
  for (const char *c = name; *c; c++) letters += (*c & 0xc0) != 0x80;
  syz_page_printf(p, "<text %s text-anchor=\"middle\"", place);
  if (letters * LETTER > room) syz_page_printf(p, " style=\"font-size:%.1fpx\"", 12.0 * room / (letters * LETTER));
  syz_page_put(p, ">");
  syz_page_escape(p, name);
  syz_page_put(p, "</text>\n");
}

static void draw_axes(syz_page *p, const syz_chart *c, const axis *x, const axis *y)
{
  double tick[TICKS_MAX];
  char text[32], place[64];
  int n = axis_ticks(y, tick);
  for (int i = 0; i < n; i++) {
    double at = y->from + (tick[i] - y->low) / (y->high - y->low) * (y->to - y->from);
    tick_text(tick[i], y->is_log, text);
    syz_page_printf(p,
                    "<line class=\"gridline\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%d\" y=\"%.1f\" "
                    "text-anchor=\"end\">%s</text>\n",
                    LEFT, WIDTH - RIGHT, at, at, LEFT - 8, at + 4, text);
  }
  n = c->has_x_ticks_at_points ? 0 : axis_ticks(x, tick);
  for (int64_t i = 0; c->has_x_ticks_at_points && i < c->series[0].n && n < TICKS_MAX; i++)
    tick[n++] = x->is_log ? log10(c->series[0].x[i]) : c->series[0].x[i];
  for (int i = 0; i < n; i++) {
    double at = x->from + (tick[i] - x->low) / (x->high - x->low) * (x->to - x->from);
    tick_text(tick[i], x->is_log, text);
    syz_page_printf(p,
                    "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/><text x=\"%.1f\" y=\"%d\" "
                    "text-anchor=\"middle\">%s</text>\n",
                    at, at, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4, at, HEIGHT - BOTTOM + 18, text);
  }
  syz_page_printf(p, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT, WIDTH - RIGHT,
                  HEIGHT - BOTTOM, HEIGHT - BOTTOM);
  snprintf(place, sizeof place, "x=\"%d\" y=\"%d\"", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6);
  draw_axis_name(p, c->x_label, place, WIDTH - LEFT - RIGHT);
  snprintf(place, sizeof place, "transform=\"translate(13 %d) rotate(-90)\"", (TOP + HEIGHT - BOTTOM) / 2);
  draw_axis_name(p, c->y_label, place, HEIGHT - TOP - BOTTOM);
}

static void draw_dots(syz_page *p, const syz_series *s, const axis *x, const axis *y)
{
  for (int64_t i = 0; i < s->n; i++)
    if (can_show(x, s->x[i]) && can_show(y, s->y[i]))
      syz_page_printf(p, "<circle class=\"f%d\" r=\"4\" cx=\"%.1f\" cy=\"%.1f\"/>", s->colour, along(x, s->x[i]),
                      along(y, s->y[i]));
  syz_page_put(p, "\n");
}

/* Long series are drawn as means of stretches, because more points than pixels are not visible. */
static void draw_line(syz_page *p, const syz_series *s, const axis *x, const axis *y)
{
  static const char *const style[] = {"", " faint", " dashed", ""};
  int64_t stretch = (s->n + POINTS_MAX - 1) / POINTS_MAX;
  bool is_open = false;
  syz_page_printf(p, "<path class=\"curve k%d%s\" d=\"", s->colour, style[s->style]);
  for (int64_t i = 0; i < s->n; i += stretch) {
    double sum_x = 0, sum_y = 0;
    int64_t n = 0;
    for (int64_t j = i; j < i + stretch && j < s->n; j++)
      if (can_show(x, s->x[j]) && can_show(y, s->y[j])) {
        sum_x += s->x[j];
        sum_y += s->y[j];
        n++;
      }
    if (n)
      syz_page_printf(p, "%c%.1f %.1f", is_open ? 'L' : 'M', along(x, sum_x / (double)n), along(y, sum_y / (double)n));
    is_open = n > 0;
  }
  syz_page_put(p, "\"/>\n");
}

/* Strokes of no length with round ends: the shortest way to write a point. */
static void draw_points(syz_page *p, const syz_series *s, const axis *x, const axis *y)
{
  syz_page_printf(p, "<path class=\"points k%d\" d=\"", s->colour);
  for (int64_t i = 0; i < s->n; i++)
    if (can_show(x, s->x[i]) && can_show(y, s->y[i]))
      syz_page_printf(p, "M%.1f %.1fh0", along(x, s->x[i]), along(y, s->y[i]));
  syz_page_put(p, "\"/>\n");
}

static int cell_of(double at, double from, double to, int cells)
{
  const int k = (int)((at - from) / (to - from) * cells);
  return k < 0 ? 0 : k >= cells ? cells - 1 : k;
}

/* Points in cells, one path for all cells of about the same number; opacity goes with its root. */
static void draw_density(syz_page *p, const syz_series *s, const axis *x, const axis *y)
{
  int64_t count[ROWS][COLUMNS] = {{0}}, most = 1;
  const double width = (x->to - x->from) / COLUMNS, height = (y->from - y->to) / ROWS;
  for (int64_t i = 0; i < s->n; i++) {
    if (!can_show(x, s->x[i]) || !can_show(y, s->y[i])) continue;
    int64_t *cell =
        &count[cell_of(along(y, s->y[i]), y->to, y->from, ROWS)][cell_of(along(x, s->x[i]), x->from, x->to, COLUMNS)];
    if (++*cell > most) most = *cell;
  }
  for (int level = 1; level <= LEVELS; level++) {
    syz_page_printf(p, "<path class=\"f%d\" opacity=\"%.2f\" d=\"", s->colour, 0.1 + 0.9 * level / LEVELS);
    for (int r = 0; r < ROWS; r++)
      for (int k = 0; k < COLUMNS; k++)
        if (count[r][k] && (int)ceil(sqrt((double)count[r][k] / (double)most) * LEVELS) == level)
          syz_page_printf(p, "M%.1f %.1fh%.1fv%.1fh-%.1fz", x->from + k * width, y->to + r * height, width, height,
                          width);
    syz_page_put(p, "\"/>\n");
  }
}

static bool has_stretch(const axis *x, const axis *y, const syz_band *b, int64_t i)
{
  return can_show(x, b->x[i]) && can_show(y, b->low[i]) && can_show(y, b->high[i]);
}

/* Its lower edge forth, its upper edge back. A gap is bridged. */
static void draw_area(syz_page *p, const syz_band *b, const axis *x, const axis *y)
{
  bool is_open = false;
  syz_page_printf(p, "<path class=\"area f%d\" d=\"", b->colour);
  for (int64_t i = 0; i < b->n; i++)
    if (has_stretch(x, y, b, i)) {
      syz_page_printf(p, "%c%.1f %.1f", is_open ? 'L' : 'M', along(x, b->x[i]), along(y, b->low[i]));
      is_open = true;
    }
  for (int64_t i = b->n; i-- > 0;)
    if (has_stretch(x, y, b, i)) syz_page_printf(p, "L%.1f %.1f", along(x, b->x[i]), along(y, b->high[i]));
  syz_page_put(p, is_open ? "z\"/>\n" : "\"/>\n");
}

static void draw_band(syz_page *p, const syz_band *b, const axis *x, const axis *y)
{
  if (b->kind == SYZ_BAND_AREA) {
    draw_area(p, b, x, y);
    return;
  }
  const bool is_bar = b->kind == SYZ_BAND_BARS;
  const double half = is_bar ? half_bar(b) : 0;
  syz_page_printf(p, "<path class=\"%s%d\" d=\"", is_bar ? "histogram f" : "curve k", b->colour);
  for (int64_t i = 0; i < b->n; i++) {
    if (!has_stretch(x, y, b, i)) continue;
    const double low = along(y, b->low[i]), high = along(y, b->high[i]);
    if (is_bar)
      syz_page_printf(p, "M%.1f %.1fV%.1fH%.1fV%.1fz", along(x, b->x[i] - half) + 0.5, low, high,
                      along(x, b->x[i] + half) - 0.5, low);
    else
      syz_page_printf(p, "M%.1f %.1fV%.1fm-3 0h6M%.1f %.1fm-3 0h6", along(x, b->x[i]), low, high, along(x, b->x[i]),
                      low);
  }
  syz_page_put(p, "\"/>\n");
}

static void draw_series(syz_page *p, const syz_series *s, const axis *x, const axis *y)
{
  if (s->style == SYZ_LINE_DOTS)
    draw_dots(p, s, x, y);
  else if (s->style != SYZ_LINE_POINTS)
    draw_line(p, s, x, y);
  else if (s->n <= SCATTER_MAX)
    draw_points(p, s, x, y);
  else
    draw_density(p, s, x, y);
}

static void legend_entry(syz_page *p, const char *mark, const char *name)
{
  syz_page_printf(p, "<span><svg viewBox=\"0 0 22 10\" aria-hidden=\"true\">%s</svg>", mark);
  syz_page_escape(p, name);
  syz_page_put(p, "</span>");
}

static void legend_of_series(syz_page *p, const syz_series *s)
{
  static const char *const style[] = {"", " faint", " dashed", "", ""};
  char mark[96];
  if (s->style == SYZ_LINE_DOTS || s->style == SYZ_LINE_POINTS)
    snprintf(mark, sizeof mark, "<circle class=\"f%d\" cx=\"11\" cy=\"5\" r=\"%d\"/>", s->colour,
             s->style == SYZ_LINE_DOTS ? 4 : 2);
  else
    snprintf(mark, sizeof mark, "<path class=\"curve k%d%s\" d=\"M1 5H21\"/>", s->colour, style[s->style]);
  legend_entry(p, mark, s->name);
}

static void legend_of_band(syz_page *p, const syz_band *b)
{
  char mark[96];
  if (b->kind == SYZ_BAND_ERRORS)
    snprintf(mark, sizeof mark, "<path class=\"curve k%d\" d=\"M11 0V10\"/>", b->colour);
  else
    snprintf(mark, sizeof mark, "<path class=\"%s f%d\" d=\"M1 0H21V10H1z\"/>",
             b->kind == SYZ_BAND_AREA ? "area" : "histogram", b->colour);
  legend_entry(p, mark, b->name);
}

static void draw_legend(syz_page *p, const syz_chart *c)
{
  int named = 0;
  for (int s = 0; s < c->n_series; s++) named += c->series[s].name != NULL;
  for (int b = 0; b < c->n_bands; b++) named += c->band[b].name != NULL;
  if (named < 2) return;
  syz_page_put(p, "<div class=\"legend\">");
  for (int s = 0; s < c->n_series; s++)
    if (c->series[s].name) legend_of_series(p, &c->series[s]);
  for (int b = 0; b < c->n_bands; b++)
    if (c->band[b].name) legend_of_band(p, &c->band[b]);
  syz_page_put(p, "</div>\n");
}

/* Opens the drawing and says what it shows to those who cannot see it. */
static void begin_drawing(syz_page *p, const syz_chart *c)
{
  syz_page_printf(p, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Chart: ", WIDTH, HEIGHT);
  syz_page_escape(p, c->title);
  syz_page_put(p, ", ");
  syz_page_escape(p, c->y_label);
  syz_page_put(p, " against ");
  syz_page_escape(p, c->x_label);
  syz_page_put(p, "\"><title>");
  syz_page_escape(p, c->title);
  syz_page_put(p, "</title>\n");
}

void syz_page_chart(syz_page *p, const syz_chart *c)
{
  axis x = {.is_log = c->is_log_x, .from = LEFT, .to = WIDTH - RIGHT},
       y = {.is_log = c->is_log_y, .from = HEIGHT - BOTTOM, .to = TOP};
  syz_page_put(p, "<div class=\"card\"><h3>");
  syz_page_escape(p, c->title);
  syz_page_put(p, "</h3>\n");
  if (!fit_axis(&x, c, true) || !fit_axis(&y, c, false)) {
    syz_page_missing(p, "No finite values to draw.");
    syz_page_put(p, "</div>\n");
    return;
  }
  draw_legend(p, c);
  begin_drawing(p, c);
  draw_axes(p, c, &x, &y);
  for (int b = 0; b < c->n_bands; b++) draw_band(p, &c->band[b], &x, &y);
  for (int s = 0; s < c->n_series; s++) draw_series(p, &c->series[s], &x, &y);
  syz_page_put(p, "</svg></div>\n");
}
