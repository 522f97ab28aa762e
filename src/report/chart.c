/* SPDX-License-Identifier: BSD-3-Clause */
/* Line charts as inline SVG: drawn at a fixed size in user units and scaled by the browser, coloured by the page's
 * styles. */
#include <math.h>
#include <stdio.h>

#include "report.h"

enum { WIDTH = 560, HEIGHT = 300, LEFT = 70, RIGHT = 14, TOP = 12, BOTTOM = 46, TICKS_MAX = 16, POINTS_MAX = 700 };

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

static bool can_show(const axis *a, double v) { return isfinite(v) && (!a->is_log || v > 0); }

static bool fit_axis(axis *a, const syz_chart *c, bool is_x)
{
  a->low = INFINITY;
  a->high = -INFINITY;
  for (int s = 0; s < c->n_series; s++)
    for (int64_t i = 0; i < c->series[s].n; i++) {
      double v = is_x ? c->series[s].x[i] : c->series[s].y[i];
      if (!can_show(a, v) || !isfinite(c->series[s].y[i])) continue;
      if (a->is_log) v = log10(v);
      a->low = fmin(a->low, v);
      a->high = fmax(a->high, v);
    }
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

static void draw_axes(syz_page *p, const syz_chart *c, const axis *x, const axis *y)
{
  double tick[TICKS_MAX];
  char text[32];
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
  syz_page_printf(p,
                  "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n<text x=\"%d\" y=\"%d\" "
                  "text-anchor=\"middle\">%s</text>\n",
                  LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6,
                  c->x_label);
  syz_page_printf(p, "<text transform=\"translate(13 %d) rotate(-90)\" text-anchor=\"middle\">%s</text>\n",
                  (TOP + HEIGHT - BOTTOM) / 2, c->y_label);
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

static void draw_legend(syz_page *p, const syz_chart *c)
{
  int named = 0;
  for (int s = 0; s < c->n_series; s++) named += c->series[s].name != NULL;
  if (named < 2) return;
  syz_page_put(p, "<div class=\"legend\">");
  for (int s = 0; s < c->n_series; s++) {
    const syz_series *l = &c->series[s];
    if (!l->name) continue;
    if (l->style == SYZ_LINE_DOTS)
      syz_page_printf(p,
                      "<span><svg viewBox=\"0 0 22 10\" aria-hidden=\"true\"><circle class=\"f%d\" cx=\"11\" cy=\"5\" "
                      "r=\"4\"/></svg>",
                      l->colour);
    else
      syz_page_printf(
          p, "<span><svg viewBox=\"0 0 22 10\" aria-hidden=\"true\"><path class=\"curve k%d%s\" d=\"M1 5H21\"/></svg>",
          l->colour,
          l->style == SYZ_LINE_DASHED  ? " dashed"
          : l->style == SYZ_LINE_FAINT ? " faint"
                                       : "");
    syz_page_escape(p, l->name);
    syz_page_put(p, "</span>");
  }
  syz_page_put(p, "</div>\n");
}

void syz_page_chart(syz_page *p, const syz_chart *c)
{
  axis x = {.is_log = c->is_log_x, .from = LEFT, .to = WIDTH - RIGHT},
       y = {.is_log = c->is_log_y, .from = HEIGHT - BOTTOM, .to = TOP};
  syz_page_printf(p, "<div class=\"card\"><h3>%s</h3>\n", c->title);
  if (!fit_axis(&x, c, true) || !fit_axis(&y, c, false)) {
    syz_page_missing(p, "No finite values to draw.");
    syz_page_put(p, "</div>\n");
    return;
  }
  draw_legend(p, c);
  syz_page_printf(p,
                  "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Chart: %s, %s against %s\"><title>%s</title>\n",
                  WIDTH, HEIGHT, c->title, c->y_label, c->x_label, c->title);
  draw_axes(p, c, &x, &y);
  for (int s = 0; s < c->n_series; s++) {
    if (c->series[s].style == SYZ_LINE_DOTS)
      draw_dots(p, &c->series[s], &x, &y);
    else
      draw_line(p, &c->series[s], &x, &y);
  }
  syz_page_put(p, "</svg></div>\n");
}
