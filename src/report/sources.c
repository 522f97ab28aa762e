/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finds the sources of a page. A user names one run folder; training, embedding and search usually have sibling
 * folders. Files named in the input come first, then the run folder, then sibling folders whose files refer to it: an
 * embedding by its model, a search by its embeddings. A name alone is never enough.
 */
#include <cjson/cJSON.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"
#include "syzygy/files.h"

enum { SIBLINGS_MAX = 1000, JSON_LIMIT = 16 << 20 };

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static bool is_folder(const char *path)
{
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool is_same(const char *a, const char *b)
{
  struct stat x, y;
  return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* "folder/name" into path; false when it is too long. */
static bool join(char path[PATH_MAX], const char *folder, const char *name)
{
  return snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

static void folder_of(char folder[PATH_MAX], const char *path)
{
  snprintf(folder, PATH_MAX, "%s", path);
  char *slash = strrchr(folder, '/');
  if (slash && slash != folder)
    *slash = '\0';
  else if (!slash)
    snprintf(folder, PATH_MAX, ".");
}

/* A growing list of texts; items that name the same file are kept once. */
static syz_status list_add(char ***list, int *n, const char *item)
{
  syz_status st = SYZ_OK;
  char **bigger = NULL, *copy = NULL;
  for (int i = 0; i < *n; i++)
    if (strcmp((*list)[i], item) == 0 || is_same((*list)[i], item)) return SYZ_OK;
  SYZ_ALLOC(bigger, "paths", *n + 1);
  SYZ_ALLOC(copy, "path", strlen(item) + 1);
  memcpy(copy, item, strlen(item) + 1);
  for (int i = 0; i < *n; i++) bigger[i] = (*list)[i];
  bigger[(*n)++] = copy;
  syz_free(list);
  *list = bigger;
  bigger = NULL;
cleanup:
  syz_free(&bigger);
  return st;
}

static void list_free(char ***list, int *n)
{
  for (int i = 0; i < *n; i++) syz_free(&(*list)[i]);
  syz_free(list);
  *n = 0;
}

void syz_report_sources_free(syz_report_sources *s)
{
  list_free(&s->embedding, &s->n_embeddings);
  list_free(&s->neighbours, &s->n_neighbours);
  list_free(&s->data, &s->n_data);
  list_free(&s->folder, &s->n_folders);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names in a folder in alphabetical order: sub-folders, or files called prefix*suffix. */
static syz_status list_folder(const char *folder, bool wants_folders, const char *prefix, const char *suffix,
                              char ***list, int *n)
{
  syz_status st = SYZ_OK;
  DIR *d = opendir(folder);
  if (!d) return SYZ_OK;
  for (struct dirent *e; (e = readdir(d)) && *n < SIBLINGS_MAX;) {
    char path[PATH_MAX];
    size_t length = strlen(e->d_name);
    if (e->d_name[0] == '.' || !join(path, folder, e->d_name) || is_folder(path) != wants_folders) continue;
    if (!wants_folders && (strncmp(e->d_name, prefix, strlen(prefix)) != 0 || length < strlen(suffix) ||
                           strcmp(e->d_name + length - strlen(suffix), suffix) != 0))
      continue;
    SYZ_TRY(list_add(list, n, path));
  }
  if (*n) qsort(*list, (size_t)*n, sizeof **list, by_name);
cleanup:
  closedir(d);
  return st;
}

/* Root attribute of an HDF5 file; NULL when there is no such file or attribute. Errors in the file are reported later,
 * when it is read. */
static char *attribute_of(const char *file, const char *name)
{
  syz_h5 *f = NULL;
  char *text = NULL;
  if (!exists(file) || syz_h5_open(NULL, file, &f) != SYZ_OK) return NULL;
  if (syz_h5_read_text(f, "", name, &text) != SYZ_OK) text = NULL;
  syz_h5_close(&f);
  return text;
}

static cJSON *read_json(const char *folder, const char *name)
{
  char path[PATH_MAX], *text = NULL;
  size_t n;
  if (!join(path, folder, name) || !exists(path) || syz_file_read(path, JSON_LIMIT, &text, &n) != SYZ_OK) return NULL;
  cJSON *json = cJSON_Parse(text);
  syz_free(&text);
  return json;
}

/* The model that a result names, HDF5 or JSON; NULL when it names none. */
static char *model_of(const char *folder, const char *file)
{
  char path[PATH_MAX], *copy = NULL;
  const char *end = strrchr(file, '.');
  if (!end || strcmp(end, ".json") != 0) return join(path, folder, file) ? attribute_of(path, "model_file") : NULL;
  cJSON *json = read_json(folder, file);
  const cJSON *model = cJSON_GetObjectItem(json, "model_file");
  if (cJSON_IsString(model)) copy = syz_alloc("path", strlen(model->valuestring) + 1, 1);
  if (copy) strcpy(copy, model->valuestring);
  cJSON_Delete(json);
  return copy;
}

/* Embedding files that a JSON file of a folder names under a key, or their folders. */
static syz_status embeddings_named(const char *folder, const char *name, const char *key, char ***list, int *n)
{
  syz_status st = SYZ_OK;
  cJSON *json = read_json(folder, name);
  const cJSON *item;
  char path[PATH_MAX];
  cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, key))
  {
    if (!cJSON_IsString(item) || !exists(item->valuestring)) continue;
    const bool is_inside = is_folder(item->valuestring) && join(path, item->valuestring, "embedding.h5");
    SYZ_TRY(list_add(list, n, is_inside ? path : item->valuestring));
  }
cleanup:
  cJSON_Delete(json);
  return st;
}

static syz_status embeddings_of_search(const char *folder, char ***list, int *n)
{
  syz_status st = embeddings_named(folder, "retrieval.json", "query", list, n);
  return st == SYZ_OK ? embeddings_named(folder, "retrieval.json", "index", list, n) : st;
}

static bool has_search(const char *folder)
{
  char path[PATH_MAX];
  char **files = NULL;
  int n = 0;
  bool has = join(path, folder, "retrieval.json") && exists(path);
  if (!has && list_folder(folder, false, "neighbours", ".h5", &files, &n) == SYZ_OK) has = n > 0;
  list_free(&files, &n);
  return has;
}

/* When a file was last written; of several candidates the newest is shown. */
static double written(const char *folder, const char *name)
{
  char path[PATH_MAX];
  struct stat info;
  return join(path, folder, name) && stat(path, &info) == 0
             ? (double)info.st_mtim.tv_sec + 1e-9 * (double)info.st_mtim.tv_nsec
             : -1;
}

/* The newest sibling folder whose search used one of these embeddings, into `found`; empty when there is none. */
static syz_status newest_search(char **embedding, int n, char **sibling, int n_siblings, char found[PATH_MAX])
{
  syz_status st = SYZ_OK;
  char **searched = NULL;
  int n_searched = 0;
  double newest = -1;
  *found = '\0';
  for (int i = 0; i < n_siblings; i++) {
    bool fits = false;
    SYZ_TRY(embeddings_of_search(sibling[i], &searched, &n_searched));
    for (int a = 0; a < n_searched; a++)
      for (int b = 0; b < n; b++) fits = fits || is_same(searched[a], embedding[b]);
    list_free(&searched, &n_searched);
    if (!fits || written(sibling[i], "retrieval.json") <= newest) continue;
    newest = written(sibling[i], "retrieval.json");
    snprintf(found, PATH_MAX, "%s", sibling[i]);
  }
cleanup:
  list_free(&searched, &n_searched);
  return st;
}

/* Embeddings in sibling folders made with the run's model: those of the newest search, or the newest one when none was
 * searched. */
static syz_status choose_sibling_embedding(syz_report_sources *s, char **sibling, int n_siblings)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], model[PATH_MAX], search[PATH_MAX], **candidate = NULL;
  int n = 0, chosen = -1;
  double newest = -1;
  for (int i = 0; i < n_siblings; i++) {
    char *made_with;
    if (!join(path, sibling[i], "embedding.h5") || !(made_with = attribute_of(path, "model_file"))) continue;
    folder_of(model, made_with);
    syz_free(&made_with);
    if (!is_same(model, s->run)) continue;
    SYZ_TRY(list_add(&candidate, &n, path));
    if (written(sibling[i], "embedding.h5") > newest) {
      newest = written(sibling[i], "embedding.h5");
      chosen = n - 1;
    }
  }
  SYZ_TRY(newest_search(candidate, n, sibling, n_siblings, search));
  if (*search)
    SYZ_TRY(embeddings_of_search(search, &s->embedding, &s->n_embeddings));
  else if (chosen >= 0)
    SYZ_TRY(list_add(&s->embedding, &s->n_embeddings, candidate[chosen]));
cleanup:
  list_free(&candidate, &n);
  return st;
}

/* A file found in a sibling folder may be unreadable, and the page then says so; for a file named in the input this is
 * an error. */
static syz_status must_open(const char *path)
{
  syz_h5 *f = NULL;
  syz_status st = syz_h5_open(NULL, path, &f);
  syz_h5_close(&f);
  return st;
}

static syz_status find_embeddings(syz_texts given, syz_report_sources *s, char **sibling, int n_siblings)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX];
  for (int i = 0; i < given.n; i++) {
    const char *item = given.item[i];
    SYZ_REQUIRE(exists(item), SYZ_ERR_DATA, "report.embedding: %s: no such file or folder", item);
    if (is_folder(item) && join(path, item, "embedding.h5")) item = path;
    SYZ_TRY(must_open(item));
    SYZ_TRY(list_add(&s->embedding, &s->n_embeddings, item));
  }
  if (s->n_embeddings) goto cleanup;
  if (join(path, s->run, "embedding.h5") && exists(path)) SYZ_TRY(list_add(&s->embedding, &s->n_embeddings, path));
  if (s->n_embeddings) goto cleanup;
  SYZ_TRY(embeddings_of_search(s->run, &s->embedding, &s->n_embeddings));
  if (!s->n_embeddings) SYZ_TRY(embeddings_named(s->run, "probe.json", "embeddings", &s->embedding, &s->n_embeddings));
  if (!s->n_embeddings) SYZ_TRY(choose_sibling_embedding(s, sibling, n_siblings));
cleanup:
  return st;
}

static syz_status find_search(syz_texts given, syz_report_sources *s, char **sibling, int n_siblings)
{
  syz_status st = SYZ_OK;
  for (int i = 0; i < given.n; i++) {
    const char *item = given.item[i];
    SYZ_REQUIRE(exists(item), SYZ_ERR_DATA, "report.neighbours: %s: no such file or folder", item);
    if (is_folder(item))
      SYZ_TRY(list_folder(item, false, "neighbours", ".h5", &s->neighbours, &s->n_neighbours));
    else
      SYZ_TRY(list_add(&s->neighbours, &s->n_neighbours, item));
    if (!is_folder(item)) SYZ_TRY(must_open(item));
    if (is_folder(item))
      snprintf(s->search, sizeof s->search, "%s", item);
    else
      folder_of(s->search, item);
  }
  if (s->n_neighbours) goto cleanup;
  if (has_search(s->run))
    snprintf(s->search, sizeof s->search, "%s", s->run);
  else
    SYZ_TRY(newest_search(s->embedding, s->n_embeddings, sibling, n_siblings, s->search));
  if (*s->search) SYZ_TRY(list_folder(s->search, false, "neighbours", ".h5", &s->neighbours, &s->n_neighbours));
cleanup:
  return st;
}

static void take_training(syz_report_sources *s, const char *model_file)
{
  char path[PATH_MAX], folder[PATH_MAX];
  if (!model_file || !*model_file) return;
  folder_of(folder, model_file);
  if (join(path, folder, "metrics.jsonl") && exists(path)) snprintf(s->training, sizeof s->training, "%s", folder);
}

static syz_status find_training(syz_report_sources *s)
{
  syz_status st = SYZ_OK;
  char path[PATH_MAX], folder[PATH_MAX];
  if (join(path, s->run, "metrics.jsonl") && exists(path)) snprintf(s->training, sizeof s->training, "%s", s->run);
  for (int i = 0; i < s->n_embeddings && !*s->training; i++) {
    char *model = attribute_of(s->embedding[i], "model_file");
    if (!model) continue;
    folder_of(folder, model);
    syz_free(&model);
    if (join(path, folder, "metrics.jsonl") && exists(path)) snprintf(s->training, sizeof s->training, "%s", folder);
  }
  /* For a run of analyse or probe: the training of its model. */
  for (int r = 0; r < s->n_results && !*s->training; r++) {
    if (!s->result[r].file) continue;
    char *model = model_of(s->run, s->result[r].file);
    take_training(s, model);
    syz_free(&model);
  }
  return st;
}

/* Whether the file names a model of the run folder. */
static bool is_of_run(const syz_report_sources *s, const char *model_file)
{
  char folder[PATH_MAX];
  if (!model_file || !*model_file) return false;
  folder_of(folder, model_file);
  return is_same(folder, s->run);
}

/* Whether a probe read embeddings that a model of the page made. */
static bool reads_embeddings(const syz_report_sources *s, const char *folder)
{
  bool does = false;
  for (int i = 0; i < s->n_embeddings && !does; i++) {
    char *digest = attribute_of(s->embedding[i], "model_digest");
    does = digest && syz_report_probe_reads(folder, digest);
    syz_free(&digest);
  }
  return does;
}

/* Whether the folder has the result, of the right task. */
static bool has_result(const syz_report_result *r, const char *folder)
{
  char path[PATH_MAX];
  return join(path, folder, r->file) && exists(path) &&
         (!r->task || strcmp(syz_report_probe_task(folder), r->task) == 0);
}

/* Finds a result of analyse or of a probe: in the run folder, or in the newest sibling folder made with a model of the
 * run. */
static void find_result(syz_report_sources *s, syz_report_result *r, char **sibling, int n_siblings)
{
  double newest = -1;
  if (has_result(r, s->run)) memcpy(r->folder, s->run, sizeof r->folder);
  const bool wants = !*r->folder;
  for (int i = 0; wants && i < n_siblings; i++) {
    if (written(sibling[i], r->file) <= newest || !has_result(r, sibling[i])) continue;
    char *made_with = model_of(sibling[i], r->file);
    if (is_of_run(s, made_with) || (r->task && reads_embeddings(s, sibling[i]))) {
      newest = written(sibling[i], r->file);
      snprintf(r->folder, sizeof r->folder, "%s", sibling[i]);
    }
    syz_free(&made_with);
  }
}

static syz_status find_data(syz_texts given, syz_report_sources *s)
{
  syz_status st = SYZ_OK;
  char *paths = NULL;
  for (int i = 0; i < given.n; i++) SYZ_TRY(list_add(&s->data, &s->n_data, given.item[i]));
  for (int i = 0; i < s->n_embeddings && !given.n; i++) {
    paths = attribute_of(s->embedding[i], "data_path");
    char *rest = paths;
    for (char *line; paths && (line = strtok_r(rest, "\n", &rest));)
      if (exists(line)) SYZ_TRY(list_add(&s->data, &s->n_data, line));
    syz_free(&paths);
  }
cleanup:
  syz_free(&paths);
  return st;
}

syz_status syz_report_find(const syz_report_options *o, syz_report_sources *s)
{
  syz_status st = SYZ_OK;
  const char *run = o->run;
  char parent[PATH_MAX], **sibling = NULL;
  int n = 0;
  SYZ_REQUIRE(is_folder(run), SYZ_ERR_INPUT, "%s: no such run folder", run);
  SYZ_REQUIRE(strlen(run) + 64 < sizeof s->run, SYZ_ERR_INPUT, "%s: name too long", run);
  snprintf(s->run, sizeof s->run, "%s", run);
  for (size_t last = strlen(s->run); last > 1 && s->run[last - 1] == '/';) s->run[--last] = '\0';
  folder_of(parent, s->run);
  SYZ_TRY(list_folder(parent, true, "", "", &sibling, &n));
  SYZ_TRY(find_embeddings(o->embeddings, s, sibling, n));
  SYZ_TRY(find_search(o->neighbours_files, s, sibling, n));
  SYZ_TRY(find_training(s));
  for (int r = 0; r < s->n_results; r++)
    if (s->result[r].file) find_result(s, &s->result[r], sibling, n);
  SYZ_TRY(find_data(o->data, s));
  if (*s->training) SYZ_TRY(list_add(&s->folder, &s->n_folders, s->training));
  for (int i = 0; i < s->n_embeddings; i++) {
    folder_of(parent, s->embedding[i]);
    SYZ_TRY(list_add(&s->folder, &s->n_folders, parent));
  }
  if (*s->search) SYZ_TRY(list_add(&s->folder, &s->n_folders, s->search));
  for (int r = 0; r < s->n_results; r++)
    if (*s->result[r].folder && !is_same(s->result[r].folder, s->run))
      SYZ_TRY(list_add(&s->folder, &s->n_folders, s->result[r].folder));
  SYZ_TRY(list_add(&s->folder, &s->n_folders, s->run));
cleanup:
  list_free(&sibling, &n);
  if (st != SYZ_OK) syz_report_sources_free(s);
  return st;
}
