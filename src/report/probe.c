/* SPDX-License-Identifier: BSD-3-Clause */
/* What embeddings know: probe.json of `probe table` and its like. The table of sources and methods; figures that need
 * the predictions are in probe_pairs.c, of posteriors in probe_posterior.c, of few labels in probe_few.c, of votes in
 * probe_votes.c, of strange objects in probe_outliers.c. */
#include "probe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "syzygy/files.h"

enum { JSON_LIMIT = 16 << 20, LIST = 32 };

/* ------------------------------------------------------------------ JSON */

static cJSON *read_probe(const char *folder)
{
  char path[PATH_MAX], *text = NULL;
  size_t n;
  if (snprintf(path, sizeof path, "%s/probe.json", folder) >= (int)sizeof path || access(path, F_OK) != 0 ||
      syz_file_read(path, JSON_LIMIT, &text, &n) != SYZ_OK)
    return NULL;
  cJSON *json = cJSON_Parse(text);
  syz_free(&text);
  return json;
}

const char *syz_report_probe_task(const char *folder)
{
  char path[PATH_MAX];
  cJSON *json = read_probe(folder);
  const cJSON *task = cJSON_GetObjectItem(json, "task");
  const bool is_dense = cJSON_IsString(task) && strcmp(task->valuestring, "dense") == 0;
  const bool is_embeddings = cJSON_IsString(task) && strcmp(task->valuestring, "embeddings") == 0;
  cJSON_Delete(json);
  if (is_dense || is_embeddings) return is_dense ? "dense" : "embeddings";
  const bool has_predictions =
      snprintf(path, sizeof path, "%s/predictions.h5", folder) < (int)sizeof path && access(path, F_OK) == 0;
  return has_predictions ? "embeddings" : "dense";
}

bool syz_report_probe_reads(const char *folder, const char *model_digest)
{
  cJSON *json = read_probe(folder);
  const cJSON *source;
  bool reads = false;
  cJSON_ArrayForEach(source, cJSON_GetObjectItem(json, "sources"))
  {
    const cJSON *digest = cJSON_GetObjectItem(source, "model_digest");
    if (cJSON_IsString(digest) && *model_digest) reads = reads || strcmp(digest->valuestring, model_digest) == 0;
  }
  cJSON_Delete(json);
  return reads;
}

/* ------------------------------------------------------------- the table */

static bool has_items(const probe_view *v, const char *name)
{
  const cJSON *list = cJSON_GetObjectItem(v->json, name);
  return cJSON_IsArray(list) && list->child;
}

static void put_sample(syz_page *p, const probe_view *v)
{
  const cJSON *split = cJSON_GetObjectItem(v->json, "split"), *source;
  static const char *const rule[][2] = {
      {"sky", "whole cells of the sky"}, {"rows", "rows"}, {"file", "files"}, {"column", "a column"}, {NULL, NULL}};
  char a[32], b[32], c[32];
  syz_page_printf(p, "<p>%s objects to train, %s to test, divided by ",
                  syz_page_number(probe_number(split, "train"), a), syz_page_number(probe_number(split, "test"), b));
  syz_page_escape(p, probe_name(rule, probe_text(split, "rule")));
  syz_page_printf(p, "; %s at borders are on neither side. Digest of the split: <span class=\"id\">",
                  syz_page_number(probe_number(split, "dropped_at_borders"), c));
  syz_page_escape(p, probe_text(split, "digest"));
  syz_page_put(p, "</span>.");
  if (has_items(v, "results") || has_items(v, "votes"))
    syz_page_printf(p, " Errors are deviations over %s bootstrap draws of test objects",
                    syz_page_number(probe_number(v->json, "bootstrap_draws"), a));
  if (has_items(v, "results"))
    syz_page_put(p, "; rows that are tied with the best one cannot be told from it by the same draws.");
  else if (has_items(v, "votes"))
    syz_page_put(p, ".");
  syz_page_put(p, "</p>\n<p class=\"by\">");
  cJSON_ArrayForEach(source, cJSON_GetObjectItem(v->json, "sources"))
  {
    if (source->prev && source->prev->next) syz_page_put(p, "; ");
    syz_page_escape(p, probe_source(probe_text(source, "name")));
    syz_page_printf(p, ": %s numbers, %s objects lack them", syz_page_number(probe_number(source, "width"), a),
                    syz_page_number(probe_number(source, "missing"), b));
  }
  syz_page_put(p, ".</p>\n");
}

/* The different texts `name` of a label's results, in their order; returns how many. */
static int distinct(const probe_view *v, const char *label, const char *name, const char *out[LIST])
{
  const cJSON *r;
  int n = 0;
  cJSON_ArrayForEach(r, cJSON_GetObjectItem(v->json, "results"))
  {
    int k = 0;
    if (strcmp(probe_text(r, "label"), label) != 0) continue;
    while (k < n && strcmp(out[k], probe_text(r, name)) != 0) k++;
    if (k == n && n < LIST) out[n++] = probe_text(r, name);
  }
  return n;
}

static const cJSON *result_of(const probe_view *v, const char *label, const char *source, const char *method)
{
  const cJSON *r;
  cJSON_ArrayForEach(r, cJSON_GetObjectItem(v->json, "results")) if (strcmp(probe_text(r, "label"), label) == 0 &&
                                                                     strcmp(probe_text(r, "source"), source) == 0 &&
                                                                     strcmp(probe_text(r, "method"), method) ==
                                                                         0) return r;
  return NULL;
}

static const cJSON *first_figure(const cJSON *result)
{
  const cJSON *figures = cJSON_GetObjectItem(result, "figures");
  return cJSON_IsObject(figures) ? figures->child : NULL;
}

static void put_result(syz_page *p, const cJSON *r)
{
  const cJSON *f = first_figure(r);
  char n[32];
  if (!f) {
    syz_page_put(p, "<td>\xe2\x80\x93</td>");
    return;
  }
  const bool is_best = cJSON_IsTrue(cJSON_GetObjectItem(r, "is_best"));
  syz_page_put(p, is_best ? "<td><b>" : "<td>");
  probe_cell(p, probe_number(f, "value"), probe_number(f, "error"), 4);
  if (is_best)
    syz_page_put(p, "</b> <span class=\"badge\">best</span>");
  else if (cJSON_IsTrue(cJSON_GetObjectItem(r, "is_tied_with_best")))
    syz_page_put(p, " <span class=\"badge\">tied</span>");
  syz_page_put(p, "<br><span class=\"by\">");
  syz_page_escape(p, probe_text(r, "chosen"));
  syz_page_printf(p, "; n %s</span></td>", syz_page_number(probe_number(r, "n"), n));
}

static void put_label_table(syz_page *p, const probe_view *v, const cJSON *label)
{
  const char *name = probe_text(label, "name"), *source[LIST], *method[LIST];
  const int sources = distinct(v, name, "source", source), methods = distinct(v, name, "method", method);
  char text[PROBE_NAME], train[32];
  if (!sources) return;
  const cJSON *f = first_figure(result_of(v, name, source[0], method[0]));
  syz_page_put(p, "<div class=\"card scroll\"><table><caption><b>");
  syz_page_escape(p, probe_label(v, name, text));
  syz_page_put(p, "</b>: ");
  syz_page_escape(p, f && f->string ? probe_figure(f->string) : "figure");
  syz_page_printf(p, " of test objects; fitted on %s</caption><thead><tr><th scope=\"col\">from</th>",
                  syz_page_number(probe_number(label, "train"), train));
  for (int m = 0; m < methods; m++) {
    syz_page_put(p, "<th scope=\"col\">");
    syz_page_escape(p, probe_method(method[m]));
    syz_page_put(p, "</th>");
  }
  syz_page_put(p, "</tr></thead><tbody>\n");
  for (int s = 0; s < sources; s++) {
    syz_page_put(p, "<tr><th scope=\"row\">");
    syz_page_escape(p, probe_source(source[s]));
    syz_page_put(p, "</th>");
    for (int m = 0; m < methods; m++) put_result(p, result_of(v, name, source[s], method[m]));
    syz_page_put(p, "</tr>\n");
  }
  syz_page_put(p, "</tbody></table></div>\n");
}

/* ------------------------------------------------------ all other figures */

static void put_more_row(syz_page *p, const cJSON *r)
{
  const cJSON *f;
  syz_page_put(p, "<tr><th scope=\"row\">");
  syz_page_escape(p, probe_source(probe_text(r, "source")));
  syz_page_put(p, ", ");
  syz_page_escape(p, probe_method(probe_text(r, "method")));
  syz_page_put(p, "</th>");
  cJSON_ArrayForEach(f, cJSON_GetObjectItem(r, "figures"))
  {
    syz_page_put(p, "<td>");
    probe_cell(p, probe_number(f, "value"), probe_number(f, "error"), 4);
    syz_page_put(p, "</td>");
  }
  syz_page_put(p, "</tr>\n");
}

/* The figures of a label when there are several, such as those of photometric redshifts. */
static void put_more(syz_page *p, const probe_view *v, const cJSON *label)
{
  const char *name = probe_text(label, "name");
  const cJSON *r, *f;
  bool is_open = false;
  cJSON_ArrayForEach(r, cJSON_GetObjectItem(v->json, "results"))
  {
    const cJSON *first = first_figure(r);
    if (strcmp(probe_text(r, "label"), name) != 0 || !first || !first->next) continue;
    if (!is_open) {
      syz_page_put(p, "<details><summary>All figures of ");
      syz_page_escape(p, name);
      syz_page_put(p, "</summary><div class=\"card scroll\"><table><thead><tr><th scope=\"col\">from, by</th>");
      cJSON_ArrayForEach(f, cJSON_GetObjectItem(r, "figures"))
      {
        syz_page_put(p, "<th scope=\"col\">");
        syz_page_escape(p, f->string ? probe_figure(f->string) : "?");
        syz_page_put(p, "</th>");
      }
      syz_page_put(p, "</tr></thead><tbody>\n");
      is_open = true;
    }
    put_more_row(p, r);
  }
  if (is_open) syz_page_put(p, "</tbody></table></div></details>\n");
}

/* --------------------------------------------------------------- section */

static syz_status put_all(syz_page *p, const probe_view *v)
{
  syz_status st = SYZ_OK;
  const cJSON *label;
  put_sample(p, v);
  cJSON_ArrayForEach(label, cJSON_GetObjectItem(v->json, "labels"))
  {
    put_label_table(p, v, label);
    put_more(p, v, label);
  }
  if (v->file) SYZ_TRY(probe_put_pairs(p, v));
  probe_put_posteriors(p, v);
  probe_put_few(p, v);
  probe_put_votes(p, v);
  probe_put_outliers(p, v);
cleanup:
  return st;
}

/* Without the predictions there are still the figures. */
static void open_predictions(syz_page *p, const char *folder, probe_view *v)
{
  char path[PATH_MAX];
  int ndim = 0;
  int64_t shape[8] = {0};
  if (snprintf(path, sizeof path, "%s/predictions.h5", folder) < (int)sizeof path &&
      syz_h5_open(NULL, path, &v->file) == SYZ_OK && syz_h5_shape(v->file, "object_id", &ndim, shape) == SYZ_OK &&
      ndim == 1) {
    v->n = shape[0];
    return;
  }
  syz_h5_close(&v->file);
  syz_page_missing(p, "%s/predictions.h5 cannot be read: there are no pictures of predictions.", folder);
}

static syz_status write_probe(syz_page *p, const syz_report_job *j)
{
  syz_status st = SYZ_OK;
  cJSON *json = read_probe(j->folder);
  probe_view v = {.json = json, .folder = j->folder};
  if (strcmp(probe_text(json, "task"), "embeddings") != 0 || !cJSON_IsArray(cJSON_GetObjectItem(json, "results")) ||
      !cJSON_IsArray(cJSON_GetObjectItem(json, "labels"))) {
    syz_page_missing(p, "%s/probe.json cannot be read as the result of a probe of embeddings.", j->folder);
    goto cleanup;
  }
  if (has_items(&v, "results")) open_predictions(p, j->folder, &v);
  SYZ_TRY(put_all(p, &v));
cleanup:
  syz_h5_close(&v.file);
  cJSON_Delete(json);
  return st;
}

const syz_report_section syz_section_probe = {
    .anchor = "embeddings",
    .link = "What embeddings know",
    .title = "What embeddings know",
    .lead = "Labels of test objects, predicted from frozen embeddings by simple means: whatever such simple methods "
            "find is information that the embeddings hold. All rows of a label are judged on the same objects.",
    .result = "probe.json",
    .task = "embeddings",
    .result_name = "labels from embeddings",
    .write = write_probe};
