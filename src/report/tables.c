/* SPDX-License-Identifier: BSD-3-Clause */
/* The sections that are tables: retrieval figures against chance, timing, provenance. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "syzygy/figures.h"
#include "syzygy/files.h"

enum { JSON_LIMIT = 16 << 20, TEXT_LIMIT = 4 << 20 };

/* *json is NULL when the file does not exist or is not JSON. */
static void read_json(const char *folder, const char *name, cJSON **json)
{
  char path[PATH_MAX], *text = NULL;
  size_t n;
  *json = NULL;
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path || access(path, F_OK) != 0) return;
  if (syz_file_read(path, JSON_LIMIT, &text, &n) == SYZ_OK) *json = cJSON_Parse(text);
  syz_free(&text);
}

static double number(const cJSON *o, const char *name)
{
  const cJSON *item = cJSON_GetObjectItem(o, name);
  return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

static const char *text_of(const cJSON *o, const char *name)
{
  const cJSON *item = cJSON_GetObjectItem(o, name);
  return cJSON_IsString(item) ? item->valuestring : "?";
}

static double recall(const cJSON *o, const char *what, int k)
{
  char name[16];
  snprintf(name, sizeof name, "%d", k);
  return number(cJSON_GetObjectItem(o, what), name);
}

/* ------------------------------------------------------------- retrieval */

static void retrieval_row(syz_page *p, const cJSON *d)
{
  char a[32], b[32];
  syz_page_put(p, "<tr><th scope=\"row\">");
  syz_page_escape(p, text_of(d, "query"));
  syz_page_put(p, " \xe2\x86\x92 ");
  syz_page_escape(p, text_of(d, "index"));
  syz_page_printf(p, "</th><td>%s</td><td>%s</td>", syz_page_number(number(d, "pairs"), a),
                  syz_page_number(number(d, "candidates"), b));
  for (int r = 0; r < SYZ_RECALLS; r++) {
    double found = recall(d, "recall", syz_recall_at[r]), chance = recall(d, "chance", syz_recall_at[r]);
    if (isfinite(found))
      syz_page_printf(p, "<td>%.1f&nbsp;%%<br><span class=\"by\">%.3g&nbsp;\xc3\x97 chance</span></td>", 100 * found,
                      found / chance);
    else
      syz_page_put(p, "<td>n/a</td>");
  }
  syz_page_printf(p, "<td>%s<br><span class=\"by\">chance %s</span></td></tr>\n",
                  syz_page_number(number(d, "median_rank"), a), syz_page_number(number(d, "chance_median_rank"), b));
}

static void retrieval_chart(syz_page *p, const cJSON *directions)
{
  double x[SYZ_RECALLS], y[2][SYZ_RECALLS], chance[SYZ_RECALLS];
  char name[2][64];
  syz_series s[6];
  int n = 0, found = 0;
  const cJSON *d;
  for (int r = 0; r < SYZ_RECALLS; r++) x[r] = syz_recall_at[r];
  cJSON_ArrayForEach(d, directions)
  {
    if (found == 2 || !isfinite(recall(d, "recall", 1))) continue;
    for (int r = 0; r < SYZ_RECALLS; r++) {
      y[found][r] = recall(d, "recall", syz_recall_at[r]);
      chance[r] = recall(d, "chance", syz_recall_at[r]);
      if (y[found][r] <= 0) y[found][r] = NAN;
    }
    snprintf(name[found], sizeof name[0], "%s to %s", text_of(d, "query"), text_of(d, "index"));
    s[n++] = (syz_series){name[found], found, found ? SYZ_LINE_DASHED : SYZ_LINE_SOLID, SYZ_RECALLS, x, y[found]};
    s[n++] = (syz_series){NULL, found, SYZ_LINE_DOTS, SYZ_RECALLS, x, y[found]};
    found++;
  }
  if (!found) return;
  s[n++] = (syz_series){"chance", 3, SYZ_LINE_DASHED, SYZ_RECALLS, x, chance};
  syz_page_chart(p, &(syz_chart){.title = "Own partner among the first k",
                                 .x_label = "k nearest neighbours",
                                 .y_label = "fraction of objects",
                                 .is_log_x = true,
                                 .is_log_y = true,
                                 .has_x_ticks_at_points = true,
                                 .n_series = n,
                                 .series = s});
}

static void regression_table(syz_page *p, const cJSON *list, syz_report_figures *f)
{
  const cJSON *r;
  if (cJSON_GetArraySize(list) == 0) {
    syz_page_missing(p, "No regression by nearest neighbours: the searched embeddings have no such label.");
    return;
  }
  syz_page_put(p, "<div class=\"card scroll\"><table><caption>What the nearest neighbours know: mean of their labels, "
                  "weights 1/distance, against the truth of held-out objects</caption><thead><tr><th "
                  "scope=\"col\">label</th><th scope=\"col\">from</th><th scope=\"col\">k</th><th scope=\"col\">train "
                  "/ test</th><th scope=\"col\">R\xc2\xb2</th></tr></thead><tbody>\n");
  cJSON_ArrayForEach(r, list)
  {
    char k[32], train[32], test[32];
    double r2 = number(r, "r2");
    int m = strcmp(text_of(r, "embedding"), "spectrum") == 0;
    f->r2[m] = r2;
    snprintf(f->label, sizeof f->label, "%s", text_of(r, "label"));
    syz_page_put(p, "<tr><th scope=\"row\">");
    syz_page_escape(p, text_of(r, "label"));
    syz_page_put(p, "</th><td>");
    syz_page_escape(p, text_of(r, "embedding"));
    syz_page_printf(p,
                    "</td><td>%s</td><td>%s / %s</td><td>%.3f<span class=\"bar\" aria-hidden=\"true\"><i "
                    "style=\"width:%.0f%%\"></i></span></td></tr>\n",
                    syz_page_number(number(r, "k"), k), syz_page_number(number(r, "train"), train),
                    syz_page_number(number(r, "test"), test), r2, 100 * fmin(fmax(r2, 0), 1));
  }
  syz_page_put(p, "</tbody></table></div>\n");
}

bool syz_report_has_pairs(const syz_report_job *j) { return !j->figures->is_pretraining || *j->sources->search; }

static syz_status write_retrieval(syz_page *p, const syz_report_job *j)
{
  const syz_report_sources *s = j->sources;
  syz_report_figures *f = j->figures;
  cJSON *json = NULL;
  const cJSON *d, *directions;
  bool has_any = false;
  if (*s->search) read_json(s->search, "retrieval.json", &json);
  if (!json) {
    syz_page_missing(p, "No retrieval.json in %s%s: there are no retrieval figures. syzygy search writes it.", s->run,
                     *s->search ? " or its search folder" : " or a folder beside it");
    return SYZ_OK;
  }
  directions = cJSON_GetObjectItem(json, "directions");
  cJSON_ArrayForEach(d, directions) has_any = has_any || isfinite(recall(d, "recall", 1));
  if (has_any) {
    syz_page_put(p, "<div class=\"charts\" style=\"margin-bottom:16px\"><div class=\"card scroll\" "
                    "style=\"grid-column:1/-1\"><table><caption>Pairs: objects whose partner is in the index. Chance: "
                    "k of all candidates.</caption><thead><tr><th scope=\"col\">direction</th><th "
                    "scope=\"col\">pairs</th><th scope=\"col\">among</th><th scope=\"col\">recall@1</th><th "
                    "scope=\"col\">recall@5</th><th scope=\"col\">recall@10</th><th scope=\"col\">recall@50</th><th "
                    "scope=\"col\">median rank</th></tr></thead><tbody>\n");
    cJSON_ArrayForEach(d, directions)
    {
      if (!isfinite(recall(d, "recall", 1))) continue;
      retrieval_row(p, d);
      int q = strcmp(text_of(d, "query"), "spectrum") == 0;
      f->recall10[q] = recall(d, "recall", 10);
      f->chance10 = recall(d, "chance", 10);
      f->objects = number(d, "candidates");
    }
    syz_page_put(p, "</tbody></table></div>\n");
    retrieval_chart(p, directions);
    regression_table(p, cJSON_GetObjectItem(json, "regression"), f);
    syz_page_put(p, "</div>\n");
  } else {
    syz_page_missing(
        p, "%s/retrieval.json has no pairs: no object of the queries is in the index with the other modality.",
        s->search);
    regression_table(p, cJSON_GetObjectItem(json, "regression"), f);
  }
  cJSON_Delete(json);
  return SYZ_OK;
}

const syz_report_section syz_section_retrieval = {
    .anchor = "retrieval",
    .link = "Retrieval",
    .title = "Retrieval",
    .lead = "Is an object&#39;s spectrum among the neighbours of its image, and the other way round? Cosine of "
            "the embeddings, every object of the index compared.",
    .has = syz_report_has_pairs,
    .write = write_retrieval};

/* ---------------------------------------------------------------- timing */

static void timing_table(syz_page *p, const char *folder, const cJSON *json)
{
  const cJSON *row;
  double ranks = number(json, "ranks");
  syz_page_put(p, "<div class=\"card scroll\"><table><caption>");
  syz_page_escape(p, folder);
  if (isfinite(ranks)) syz_page_printf(p, ", %g rank%s", ranks, ranks == 1 ? "" : "s");
  syz_page_put(
      p,
      "</caption><thead><tr><th scope=\"col\">phase</th><th scope=\"col\">calls</th><th scope=\"col\">min (s)</th><th "
      "scope=\"col\">mean (s)</th><th scope=\"col\">max (s)</th><th scope=\"col\">share</th></tr></thead><tbody>\n");
  cJSON_ArrayForEach(row, cJSON_GetObjectItem(json, "phases"))
  {
    char calls[32];
    double share = 100 * number(row, "share");
    syz_page_put(p, "<tr><th scope=\"row\">");
    syz_page_escape(p, text_of(row, "phase"));
    syz_page_printf(p,
                    "</th><td>%s</td><td>%.3f</td><td>%.3f</td><td>%.3f</td><td>%.1f&nbsp;%%<span class=\"bar\" "
                    "aria-hidden=\"true\"><i style=\"width:%.1f%%\"></i></span></td></tr>\n",
                    syz_page_number(number(row, "count"), calls), number(row, "min_s"), number(row, "mean_s"),
                    number(row, "max_s"), share, share);
  }
  syz_page_put(p, "</tbody></table></div>\n");
}

static syz_status write_timing(syz_page *p, const syz_report_job *j)
{
  const syz_report_sources *s = j->sources;
  bool has_any = false;
  for (int i = 0; i < s->n_folders; i++) {
    cJSON *json;
    read_json(s->folder[i], "timing.json", &json);
    if (cJSON_IsArray(cJSON_GetObjectItem(json, "phases"))) {
      timing_table(p, s->folder[i], json);
      has_any = true;
    }
    cJSON_Delete(json);
  }
  if (!has_any) syz_page_missing(p, "No timing.json in %s: a run writes it when it ends.", s->run);
  return SYZ_OK;
}

const syz_report_section syz_section_timing = {
    .anchor = "timing",
    .link = "Timing",
    .title = "Where the time went",
    .lead = "Seconds of each phase, over the ranks of the run; a phase inside another one is counted once.",
    .write = write_timing};

/* ------------------------------------------------------------ provenance */

static void entry(syz_page *p, const char *name, const char *value)
{
  if (!value) return;
  syz_page_printf(p, "<dt>%s</dt><dd>", name);
  syz_page_escape(p, value);
  syz_page_put(p, "</dd>\n");
}

static void file_record(syz_page *p, const char *path)
{
  static const struct {
    const char *attribute, *name;
  } wanted[] = {{"created_by", "made by"}, {"model_file", "model"},        {"model_digest", "model digest"},
                {"data_path", "data"},     {"data_digest", "data digest"}, {"data_split", "split"},
                {"precision", "precision"}};
  syz_h5 *f = NULL;
  syz_page_put(p, "<div class=\"card\"><h3>");
  syz_page_escape(p, path);
  syz_page_put(p, "</h3>\n");
  if (syz_h5_open(NULL, path, &f) != SYZ_OK)
    syz_page_missing(p, "cannot be read: %s", syz_error_text());
  else {
    syz_page_put(p, "<dl>\n");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
      char *text = NULL;
      if (syz_h5_read_text(f, "", wanted[i].attribute, &text) == SYZ_OK) entry(p, wanted[i].name, text);
      syz_free(&text);
    }
    syz_page_put(p, "</dl>");
  }
  syz_page_put(p, "</div>\n");
  if (f) syz_h5_close(&f);
}

static void text_file(syz_page *p, const char *folder, const char *name, bool is_tail)
{
  char path[PATH_MAX], *text = NULL;
  size_t n;
  if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path || access(path, F_OK) != 0) return;
  syz_page_put(p, "<details><summary>");
  syz_page_escape(p, path);
  syz_page_put(p, "</summary><pre>");
  if (syz_file_read(path, TEXT_LIMIT, &text, &n) != SYZ_OK)
    syz_page_put(p, "(cannot be read, or larger than 4 MB)");
  else {
    const char *from = text;
    if (is_tail)
      for (int line = 0; n > 0; n--)
        if (text[n - 1] == '\n' && ++line > 200) {
          from = text + n;
          break;
        }
    syz_page_escape(p, from);
  }
  syz_page_put(p, "</pre></details>\n");
  syz_free(&text);
}

static syz_status write_provenance(syz_page *p, const syz_report_job *j)
{
  const syz_report_sources *s = j->sources;
  char path[PATH_MAX];
  for (int i = 0; i < s->n_embeddings; i++) file_record(p, s->embedding[i]);
  for (int i = 0; i < s->n_folders; i++) {
    text_file(p, s->folder[i], "input.yaml", false);
    text_file(p, s->folder[i], "log.txt", true);
  }
  if (snprintf(path, sizeof path, "%s/input.yaml", s->run) < (int)sizeof path && access(path, F_OK) != 0)
    syz_page_missing(p, "No input.yaml in %s: the folder was not written by a run of syzygy, or is not complete.",
                     s->run);
  return SYZ_OK;
}

const syz_report_section syz_section_provenance = {
    .anchor = "provenance",
    .link = "Provenance",
    .title = "Where it comes from",
    .lead = "Inputs as resolved by the runs, the ends of their logs, and the attributes of the files.",
    .write = write_provenance};
