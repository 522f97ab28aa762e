/* SPDX-License-Identifier: BSD-3-Clause */
/* A run folder as one self-contained HTML page. Rank 0 writes it; the page names parts that cannot be found. */
#include "report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "syzygy/files.h"

/* In the order of the page. */
static const syz_report_section *const SECTIONS[] = {
    &syz_section_training, &syz_section_reconstruction, &syz_section_patches,
    &syz_section_dense,    &syz_section_probe,          &syz_section_retrieval,
    &syz_section_gallery,  &syz_section_timing,         &syz_section_provenance,
};
enum { N_SECTIONS = sizeof SECTIONS / sizeof *SECTIONS };
_Static_assert((int)N_SECTIONS <= (int)SYZ_SECTIONS_MAX, "a result for each section");

static void tile(syz_page *p, const char *value, const char *what)
{
  syz_page_printf(p, "<div class=\"tile\"><b>%s</b><span>", value);
  syz_page_escape(p, what);
  syz_page_put(p, "</span></div>\n");
}

/* The summary figures of the run; only those that are known. */
static void tiles(syz_page *p, const syz_report_figures *f)
{
  static const char *const from[2] = {"image to spectrum", "spectrum to image"}, *const modality[2] = {"image",
                                                                                                       "spectrum"};
  char value[64], what[256];
  syz_page_put(p, "<div class=\"tiles\">\n");
  if (isfinite(f->steps)) tile(p, syz_page_number(f->steps, value), "training steps");
  if (isfinite(f->loss))
    tile(p, syz_page_number(f->loss, value),
         f->is_pretraining ? "loss at the end, smoothed" : "loss at the end, smoothed (nats)");
  for (int q = 0; q < 2; q++) {
    if (!isfinite(f->recall10[q])) continue;
    char objects[32];
    snprintf(value, sizeof value, "%.1f\xc2\xa0%%", 100 * f->recall10[q]);
    snprintf(what, sizeof what, "recall@10 %s among %s: %.3g \xc3\x97 chance", from[q],
             syz_page_number(f->objects, objects), f->recall10[q] / f->chance10);
    tile(p, value, what);
  }
  for (int m = 0; m < 2; m++) {
    if (!isfinite(f->r2[m])) continue;
    snprintf(value, sizeof value, "%.3f", f->r2[m]);
    snprintf(what, sizeof what, "R\xc2\xb2 of %s from the %s embedding's neighbours", f->label, modality[m]);
    tile(p, value, what);
  }
  if (isfinite(f->knn)) {
    snprintf(value, sizeof value, "%.3f", f->knn);
    char start[32], pixels[32]; /* numbers of a file may be long */
    const bool has_start = isfinite(f->start), has_pixels = isfinite(f->pixels);
    snprintf(start, sizeof start, "%.3f", f->start);
    snprintf(pixels, sizeof pixels, "%.3f", f->pixels);
    snprintf(what, sizeof what, "%s by nearest neighbours of the class token%s%s%s%s", f->knn_label,
             has_start ? "; before training " : "", has_start ? start : "", has_pixels ? ", pixels " : "",
             has_pixels ? pixels : "");
    for (char *c = what; *c; c++)
      if (*c == '_') *c = ' ';
    tile(p, value, what);
  }
  if (isfinite(f->iou)) {
    snprintf(value, sizeof value, "%.3f", f->iou);
    if (isfinite(f->iou_untrained))
      snprintf(what, sizeof what, "mean IoU of a linear head on patches; untrained %.3f", f->iou_untrained);
    else
      snprintf(what, sizeof what, "mean IoU of a linear head on patches");
    tile(p, value, what);
  }
  syz_page_put(p, "</div>\n");
}

static const char *base_name(const char *path)
{
  const char *slash = strrchr(path, '/');
  return slash && slash[1] ? slash + 1 : path;
}

/* Links to the sections that the page has. */
static void put_navigation(syz_page *p, const bool *is_shown)
{
  syz_page_put(p, "</header>\n<nav aria-label=\"Sections\">");
  for (int k = 0; k < N_SECTIONS; k++)
    if (is_shown[k]) syz_page_printf(p, "<a href=\"#%s\">%s</a>", SECTIONS[k]->anchor, SECTIONS[k]->link);
  syz_page_put(p, "</nav>\n<main>\n");
}

static void put_header(syz_page *p, const syz_report_sources *s, const syz_report_figures *f, const bool *is_shown)
{
  char utc[32], title[PATH_MAX + 32];
  syz_clock_utc(utc);
  snprintf(title, sizeof title, "%s \xc2\xb7 syzygy report", base_name(s->run));
  syz_page_begin(p, title);
  syz_page_put(p, "<header>\n<h1>");
  syz_page_escape(p, base_name(s->run));
  syz_page_put(p, "</h1>\n<p>Run folder <span class=\"id\">");
  syz_page_escape(p, s->run);
  syz_page_put(p, "</span>");
  if (*s->search && strcmp(s->search, s->run) != 0) {
    syz_page_put(p, ", searched in <span class=\"id\">");
    syz_page_escape(p, s->search);
    syz_page_put(p, "</span>");
  }
  syz_page_printf(p, ". Reported %s.</p>\n", utc);
  tiles(p, f);
  put_navigation(p, is_shown);
}

static syz_status write_sections(syz_page *p, syz_report_job *job, bool *is_shown)
{
  syz_status st = SYZ_OK;
  for (int k = 0; k < N_SECTIONS; k++) {
    const syz_report_section *section = SECTIONS[k];
    job->folder = job->sources->result[k].folder;
    is_shown[k] = (!section->result || *job->folder) && (!section->has || section->has(job));
    if (!is_shown[k]) continue;
    syz_page_section(p, section->anchor, section->title);
    if (section->lead) syz_page_lead(p, section->lead);
    SYZ_TRY(section->write(p, job));
  }
cleanup:
  return st;
}

/* Sections first, because the head shows figures that they find. */
static syz_status write_page(const syz_run *run, syz_comm *self, const syz_report_options *o,
                             const syz_report_sources *s, const char *path)
{
  syz_status st = SYZ_OK;
  syz_page page = {0}, body = {0};
  bool is_shown[N_SECTIONS];
  syz_report_figures f = {
      .steps = NAN, .loss = NAN, .recall10 = {NAN, NAN}, .chance10 = NAN, .r2 = {NAN, NAN}, .objects = NAN};
  f.knn = f.start = f.pixels = f.iou = f.iou_untrained = NAN;
  syz_report_job job = {.options = o, .sources = s, .self = self, .figures = &f};
  SYZ_TRY(write_sections(&body, &job, is_shown));
  put_header(&page, s, &f, is_shown);
  if (body.n) syz_page_bytes(&page, body.text, body.n);
  syz_page_printf(&page, "</main>\n<footer>Made by %s. This page is self-contained: it loads nothing.</footer>\n",
                  run->created_by);
  syz_page_end(&page);
  SYZ_REQUIRE(!page.has_failed && !body.has_failed, SYZ_ERR_MEMORY, "no memory for the page");
  SYZ_TRY(syz_file_write(path, page.text, page.n));
  syz_info("wrote %s (%.1f MB)", path, (double)page.n / 1e6);
cleanup:
  syz_page_free(&page);
  syz_page_free(&body);
  return st;
}

static void print_sources(const syz_report_sources *s)
{
  syz_info("run %s", s->run);
  syz_info("training: %s", *s->training ? s->training : "no metrics.jsonl found");
  for (int i = 0; i < s->n_embeddings; i++) syz_info("embedding: %s", s->embedding[i]);
  if (!s->n_embeddings) syz_info("embedding: none found");
  syz_info("search: %s, %d neighbours file(s)", *s->search ? s->search : "none found", s->n_neighbours);
  for (int k = 0; k < N_SECTIONS; k++)
    if (*s->result[k].folder) syz_info("%s: %s", SECTIONS[k]->result_name, s->result[k].folder);
  for (int i = 0; i < s->n_data; i++) syz_info("data: %s", s->data[i]);
  if (!s->n_data) syz_info("data: none known");
}

syz_status syz_report_write(const syz_run *run, const syz_report_options *options)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  syz_comm *self = NULL;
  syz_report_sources s = {.n_embeddings = 0};
  const bool is_first = syz_comm_rank(run->world) == 0;
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/report.html", options->folder) < (int)sizeof path, SYZ_ERR_INPUT,
              "output.dir: name too long");
  for (int k = 0; k < N_SECTIONS; k++) {
    s.result[k].file = SECTIONS[k]->result;
    s.result[k].task = SECTIONS[k]->task;
  }
  s.n_results = N_SECTIONS;
  SYZ_TRY(syz_comm_split(run->world, is_first ? 0 : 1, &self));
  SYZ_TRY_ALL(run->world, is_first ? syz_report_find(options, &s) : SYZ_OK);
  if (is_first) print_sources(&s);
  if (options->only_finds) goto cleanup;
  SYZ_TRY_ALL(run->world, is_first ? syz_make_folder(options->folder) : SYZ_OK);
  st = is_first ? write_page(run, self, options, &s, path) : SYZ_OK;
  syz_barrier_idle(run->world);
  SYZ_TRY_ALL(run->world, st);
cleanup:
  syz_report_sources_free(&s);
  syz_comm_destroy(&self);
  return st;
}
