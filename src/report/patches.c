/* SPDX-License-Identifier: BSD-3-Clause */
/* Frozen patch features: maps of their principal components (from analyse) and linear heads on them (from probe dense).
 */
#include <cjson/cJSON.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "syzygy/files.h"

enum { SHOWN = 12, PICTURE_LIMIT = 8 << 20, JSON_LIMIT = 16 << 20 };

/* A PNG file of a folder into the page; false when it is not there. */
static bool put_picture(syz_page *p, const char *folder, const char *file, const char *alt, const char *width)
{
  static const unsigned char sign[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  char path[PATH_MAX], *png = NULL;
  size_t n = 0;
  if (snprintf(path, sizeof path, "%s/%s", folder, file) >= (int)sizeof path || access(path, F_OK) != 0) return false;
  if (syz_file_read(path, PICTURE_LIMIT, &png, &n) != SYZ_OK || n < sizeof sign ||
      memcmp(png, sign, sizeof sign) != 0) {
    syz_free(&png);
    return false;
  }
  syz_page_printf(p, "<img style=\"width:%s;image-rendering:pixelated;border-radius:8px;display:block\" alt=\"", width);
  syz_page_escape(p, alt);
  syz_page_put(p, "\" src=\"data:image/png;base64,");
  syz_page_base64(p, (const unsigned char *)png, n);
  syz_page_put(p, "\">");
  syz_free(&png);
  return true;
}

/* Object ids of the first rows of a file; returns their number. */
static int first_ids(syz_h5 *f, int64_t *id, int room)
{
  int ndim;
  int64_t shape[8];
  if (!syz_h5_has(f, "object_id") || syz_h5_shape(f, "object_id", &ndim, shape) != SYZ_OK || ndim != 1) return 0;
  const int n = shape[0] < room ? (int)shape[0] : room;
  return n > 0 && syz_h5_read(f, "object_id", SYZ_H5_I64, 0, n, id) == SYZ_OK ? n : 0;
}

/* The pictures of a folder, named after row and object; missing ones are skipped. */
static int put_pictures(syz_page *p, const char *folder, const char *prefix, const int64_t *id, int n, const char *alt,
                        const char *column)
{
  int shown = 0;
  syz_page_printf(
      p, "<div style=\"display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%%,%s),1fr));gap:14px\">\n",
      column);
  for (int i = 0; i < n; i++) {
    char file[96], text[256];
    snprintf(file, sizeof file, "%s-%05d-%lld.png", prefix, i, (long long)id[i]);
    snprintf(text, sizeof text, "%s of object %lld", alt, (long long)id[i]);
    syz_page_put(p, "<figure style=\"margin:0\">");
    const bool is_there = put_picture(p, folder, file, text, "100%");
    if (is_there) syz_page_printf(p, "<figcaption class=\"id\">%lld</figcaption>", (long long)id[i]);
    syz_page_put(p, "</figure>\n");
    shown += is_there;
  }
  syz_page_put(p, "</div>\n");
  return shown;
}

/* ------------------------------------------------------------------ maps */

static syz_status chart_variances(syz_page *p, syz_h5 *f)
{
  syz_status st = SYZ_OK;
  int ndim;
  int64_t shape[8];
  double *number = NULL, *ratio = NULL;
  if (!syz_h5_has(f, "variance_ratio") || syz_h5_shape(f, "variance_ratio", &ndim, shape) != SYZ_OK || ndim != 1 ||
      shape[0] < 2 || shape[0] > 4096)
    return SYZ_OK;
  SYZ_ALLOC(number, "curve", shape[0]);
  SYZ_ALLOC(ratio, "curve", shape[0]);
  if (syz_h5_read(f, "variance_ratio", SYZ_H5_F64, 0, shape[0], ratio) != SYZ_OK) goto cleanup;
  for (int64_t i = 0; i < shape[0]; i++) number[i] = (double)i + 1;
  syz_series s[2] = {{NULL, 0, SYZ_LINE_SOLID, shape[0], number, ratio},
                     {NULL, 0, SYZ_LINE_DOTS, shape[0], number, ratio}};
  syz_page_put(p, "<div style=\"max-width:600px\">\n");
  syz_page_chart(p, &(syz_chart){.title = "Variance of the patch features by component",
                                 .x_label = "principal component",
                                 .y_label = "share of the variance",
                                 .n_series = 2,
                                 .series = s});
  syz_page_put(p, "</div>\n");
cleanup:
  syz_free(&number);
  syz_free(&ratio);
  return st;
}

static syz_status write_patches(syz_page *p, const syz_report_job *j)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  int64_t id[SHOWN];
  syz_h5 *f = NULL;
  if (snprintf(path, sizeof path, "%s/patches.h5", j->folder) >= (int)sizeof path ||
      syz_h5_open(NULL, path, &f) != SYZ_OK) {
    syz_page_missing(p, "%s/patches.h5 cannot be read: %s", j->folder, syz_error_text());
    return SYZ_OK;
  }
  syz_page_put(p, "<div class=\"card\">");
  if (!put_pictures(p, j->folder, "patches", id, first_ids(f, id, SHOWN),
                    "Image and map of the first three principal components of the patch features", "340px"))
    syz_page_missing(p, "None of the pictures of %s/patches.h5 is there (analyse.pictures).", j->folder);
  syz_page_put(p, "</div>\n");
  SYZ_TRY(chart_variances(p, f));
cleanup:
  syz_h5_close(&f);
  return st;
}

const syz_report_section syz_section_patches = {
    .anchor = "patches",
    .link = "Patches",
    .title = "What a patch encodes",
    .lead =
        "Principal components of the frozen patch features of a batch of images: the first three as red, green and "
        "blue beside each image, on one scale for all. Patches of one colour are alike to the backbone, wherever they "
        "are.",
    .result = "patches.h5",
    .result_name = "maps of patches",
    .write = write_patches};

/* ----------------------------------------------------------------- heads */

/* The next item with a name after `item`, or the first one of `parent`. Items of a list have no names, so a list in
 * place of an object has none. */
static const cJSON *next_named(const cJSON *parent, const cJSON *item)
{
  const cJSON *next = item ? item->next : cJSON_IsObject(parent) ? parent->child : NULL;
  return next && next->string ? next : NULL;
}

static double number(const cJSON *o, const char *name)
{
  const cJSON *item = cJSON_GetObjectItem(o, name);
  return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

static void put_value(syz_page *p, double v)
{
  if (isfinite(v))
    syz_page_printf(p, "<td>%.3f<span class=\"bar\" aria-hidden=\"true\"><i style=\"width:%.0f%%\"></i></span></td>", v,
                    100 * fmin(fmax(v, 0), 1));
  else
    syz_page_put(p, "<td>n/a</td>");
}

/* A row of the table: one figure of each set of weights, found through `group` and `part`; NULL: no such level. */
static void put_row(syz_page *p, const cJSON *models, const char *name, const char *group, const char *part,
                    const char *figure)
{
  const cJSON *m;
  syz_page_put(p, "<tr><th scope=\"row\" style=\"white-space:normal\">");
  syz_page_escape(p, name);
  syz_page_put(p, "</th>");
  cJSON_ArrayForEach(m, models)
  {
    const cJSON *o = cJSON_GetObjectItem(m, group);
    put_value(p, number(part ? cJSON_GetObjectItem(o, part) : o, figure));
  }
  syz_page_put(p, "</tr>\n");
}

static void put_head(syz_page *p, const cJSON *models, const char *caption)
{
  const cJSON *m;
  syz_page_printf(p, "<div class=\"card scroll\"><table><caption>%s</caption><thead><tr><th scope=\"col\"></th>",
                  caption);
  cJSON_ArrayForEach(m, models)
  {
    const cJSON *weights = cJSON_GetObjectItem(m, "weights");
    syz_page_put(p, "<th scope=\"col\">");
    syz_page_escape(p, cJSON_IsString(weights) ? weights->valuestring : "?");
    syz_page_put(p, "</th>");
  }
  syz_page_put(p, "</tr></thead><tbody>\n");
}

static void put_tables(syz_page *p, const cJSON *json, syz_report_figures *f)
{
  const cJSON *models = cJSON_GetObjectItem(json, "models"), *first = cJSON_GetArrayItem(models, 0), *item;
  put_head(p, models, "Segmentation of held-out patches: intersection over union.");
  put_row(p, models, "mean", "patches", NULL, "mean_iou");
  const cJSON *iou = cJSON_GetObjectItem(cJSON_GetObjectItem(first, "patches"), "iou"),
              *r2 = cJSON_GetObjectItem(first, "r2");
  for (item = next_named(iou, NULL); item; item = next_named(iou, item))
    put_row(p, models, item->string, "patches", "iou", item->string);
  put_row(p, models, "mean, of pixels", "pixels", NULL, "mean_iou");
  put_row(p, models, "accuracy", "patches", NULL, "accuracy");
  put_row(p, models, "accuracy of always the commonest class", "patches", NULL, "majority");
  syz_page_put(p, "</tbody></table></div>\n");
  put_head(p, models, "Numbers of held-out patches: R\xc2\xb2.");
  for (item = next_named(r2, NULL); item; item = next_named(r2, item)) {
    const cJSON *help = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "targets"), item->string);
    put_row(p, models, cJSON_IsString(help) ? help->valuestring : item->string, "r2", NULL, item->string);
  }
  syz_page_put(p, "</tbody></table></div>\n");
  cJSON_ArrayForEach(item, models)
  {
    const cJSON *weights = cJSON_GetObjectItem(item, "weights");
    const double mean = number(cJSON_GetObjectItem(item, "patches"), "mean_iou");
    if (cJSON_IsString(weights) && strcmp(weights->valuestring, "trained") == 0) f->iou = mean;
    if (cJSON_IsString(weights) && strcmp(weights->valuestring, "untrained") == 0) f->iou_untrained = mean;
  }
}

/* Accepts only "#rrggbb", because it is written into a style. */
static bool is_colour(const char *text)
{
  for (int i = 1; i < 7; i++)
    if (text[0] != '#' || !isxdigit((unsigned char)text[i])) return false;
  return text[7] == '\0';
}

static void put_legend(syz_page *p, const cJSON *json)
{
  const cJSON *colours = cJSON_GetObjectItem(json, "colours");
  syz_page_put(p, "<div class=\"legend\">");
  for (const cJSON *item = next_named(colours, NULL); item; item = next_named(colours, item)) {
    if (!cJSON_IsString(item) || !is_colour(item->valuestring)) continue;
    syz_page_printf(p,
                    "<span><i style=\"display:inline-block;width:12px;height:12px;border-radius:3px;border:1px solid "
                    "var(--line);margin-right:6px;background:%s\"></i>",
                    item->valuestring);
    syz_page_escape(p, item->string);
    syz_page_put(p, "</span>");
  }
  syz_page_put(p, "</div>\n");
}

static syz_status write_dense(syz_page *p, const syz_report_job *j)
{
  char path[PATH_MAX], *text = NULL;
  size_t n;
  int64_t id[SHOWN];
  cJSON *json = NULL;
  syz_h5 *file = NULL;
  if (snprintf(path, sizeof path, "%s/probe.json", j->folder) < (int)sizeof path &&
      syz_file_read(path, JSON_LIMIT, &text, &n) == SYZ_OK)
    json = cJSON_Parse(text);
  syz_free(&text);
  const cJSON *task = cJSON_GetObjectItem(json, "task");
  if (!cJSON_IsString(task) || strcmp(task->valuestring, "dense") != 0) {
    syz_page_missing(p, "%s/probe.json cannot be read as the result of probe dense.", j->folder);
    goto cleanup;
  }
  put_tables(p, json, j->figures);
  if (snprintf(path, sizeof path, "%s/dense.h5", j->folder) >= (int)sizeof path ||
      syz_h5_open(NULL, path, &file) != SYZ_OK) {
    syz_page_missing(p, "%s/dense.h5 cannot be read: there are no pictures.", j->folder);
    goto cleanup;
  }
  syz_page_put(p, "<div class=\"card\"><h3>Held-out objects: image; segments, true and found; surface brightness, true "
                  "and found</h3>\n");
  put_legend(p, json);
  if (!put_pictures(p, j->folder, "dense", id, first_ids(file, id, SHOWN),
                    "Image, true and predicted segments, true and predicted surface brightness", "700px"))
    syz_page_missing(p, "None of the pictures of %s/dense.h5 is there (probe.pictures).", j->folder);
  syz_page_put(p, "</div>\n");
  syz_h5_close(&file);
cleanup:
  cJSON_Delete(json);
  return SYZ_OK;
}

const syz_report_section syz_section_dense = {
    .anchor = "dense",
    .link = "Linear heads",
    .title = "Linear heads on patches",
    .lead =
        "What a linear map predicts from the frozen patch features of held-out objects: which part of the sky a patch "
        "shows, how bright it is, how far from the galaxy. For comparison, the same architecture with initial weights.",
    .result = "probe.json",
    .task = "dense",
    .result_name = "linear heads",
    .write = write_dense};
