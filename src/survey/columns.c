/* SPDX-License-Identifier: BSD-3-Clause */
/** Columns and words that the input names: a misspelt one would give NaN or cut every object, so a name that no file
 * has is an error, which suggests the nearest name. */
#include "ingest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *ingest_column_name(const ingest *g, int k)
{
  if (k == g->n_labels) return g->cuts.primary;
  return k ? g->label[k] : g->options.redshift_column;
}

static bool is_nearer(const ingest_column *a, const ingest_column *b)
{
  if (a->file == NO_FILE || b->file == NO_FILE) return b->file == NO_FILE && a->file != NO_FILE;
  return a->distance != b->distance ? a->distance < b->distance : a->file < b->file;
}

static void take_nearer(ingest_column *c, const ingest_column *other)
{
  if (!is_nearer(other, c)) return;
  c->file = other->file;
  c->distance = other->distance;
  memcpy(c->nearest, other->nearest, sizeof c->nearest);
}

/* Of two files the first in the list decides, so that the unit is the same on any number of ranks. */
static void take_unit(ingest_column *c, const ingest_unit *found)
{
  if (found->file == NO_FILE) return;
  ingest_unit late = *found;
  if (c->unit.file == NO_FILE || found->file < c->unit.file) {
    late = c->unit;
    c->unit = *found;
  }
  if (late.file == NO_FILE || strcmp(late.text, c->unit.text) == 0) return;
  if (c->other.file == NO_FILE || strcmp(c->other.text, c->unit.text) == 0 || late.file < c->other.file)
    c->other = late;
}

void ingest_note_column(ingest *g, int file, int k, const syz_column_search *search)
{
  ingest_column *c = &g->column[k], found;
  memset(&found, 0, sizeof found);
  ++*(search->has ? &c->has[g->file[file].role] : &c->lacks[g->file[file].role]);
  found.file = search->nearest[0] ? file : NO_FILE;
  found.distance = search->distance;
  memcpy(found.nearest, search->nearest, sizeof found.nearest);
  take_nearer(c, &found);
  if (!search->unit[0]) return;
  ingest_unit unit = {.file = file};
  snprintf(unit.text, sizeof unit.text, "%s", search->unit);
  take_unit(c, &unit);
}

static int64_t in_all(const int64_t n[ROLE_COUNT])
{
  int64_t sum = 0;
  for (int r = 0; r < ROLE_COUNT; r++) sum += n[r];
  return sum;
}

static syz_status check_column(const ingest *g, int k)
{
  syz_status st = SYZ_OK;
  const ingest_column *c = &g->column[k];
  const char *name = ingest_column_name(g, k);
  const char *key = k == g->n_labels ? "ingest.primary" : k ? "ingest.labels" : "ingest.redshift_column";
  bool is_needed =
      k && k < g->n_labels; /* a flag of spectra or a redshift of catalogues matters only if the input has those */
  if (!name[0] || in_all(c->has) || (!is_needed && !in_all(c->lacks))) return SYZ_OK;
  SYZ_REQUIRE(c->file != NO_FILE, SYZ_ERR_DATA, "%s: no file has a numeric column '%s'", key, name);
  SYZ_REQUIRE(false, SYZ_ERR_DATA, "%s: no file has a numeric column '%s'; the nearest is '%s' in %s", key, name,
              c->nearest, g->file[c->file].path);
cleanup:
  return st;
}

static syz_status check_all(const ingest *g)
{
  syz_status st = SYZ_OK;
  for (int k = 0; k <= g->n_labels; k++) SYZ_TRY(check_column(g, k));
cleanup:
  return st;
}

const char *ingest_label_unit(const ingest *g, int k)
{
  const ingest_column *c = &g->column[k];
  return c->unit.file == NO_FILE || c->other.file != NO_FILE ? "" : c->unit.text;
}

static void tell_units(const ingest *g)
{
  for (int k = 0; k < g->n_labels; k++) {
    const ingest_column *c = &g->column[k];
    if (c->other.file == NO_FILE) continue;
    syz_warn("label %s: %s says that its unit is '%s', %s says '%s'; the shards state none", g->label[k],
             g->file[c->unit.file].path, c->unit.text, g->file[c->other.file].path, c->other.text);
  }
}

syz_status ingest_check_columns(ingest *g)
{
  syz_status st = SYZ_OK;
  int n = g->n_labels + 1;
  ingest_column *all = syz_alloc("columns", (size_t)n * (size_t)g->size, sizeof *all);
  SYZ_TRY_ALL(g->world, all ? SYZ_OK : SYZ_ERR_MEMORY);
  syz_allgather(g->world, g->column, all, (size_t)n * sizeof *all);
  for (int k = 0; k < n; k++) {
    ingest_column *c = &g->column[k];
    memset(c, 0, sizeof *c);
    c->file = c->unit.file = c->other.file = NO_FILE;
    for (int r = 0; r < g->size; r++) {
      const ingest_column *one = &all[r * n + k];
      for (int role = 0; role < ROLE_COUNT; role++) {
        c->has[role] += one->has[role];
        c->lacks[role] += one->lacks[role];
      }
      take_nearer(c, one);
      take_unit(c, &one->unit);
      take_unit(c, &one->other);
    }
  }
  tell_units(g);
  SYZ_TRY_ALL(g->world, check_all(g));
cleanup:
  syz_free(&all);
  return st;
}

/* ------------------------------------------------------------------ types */

static const char *type_of(const syz_spectrum_info *o, bool is_spectype)
{
  return is_spectype ? o->spectype : o->objtype;
}

/** The spectra's type nearest to a word of the input. */
typedef struct nearest_type {
  int64_t distance;
  char text[16];
} nearest_type;

/* Of equally near ones the alphabetically first, so that it is the same on any number of ranks. */
static void take_type(nearest_type *n, const char *word, const char *type)
{
  int distance = syz_edit_distance(word, type);
  if (distance > n->distance || (distance == n->distance && strcmp(type, n->text) >= 0)) return;
  n->distance = distance;
  snprintf(n->text, sizeof n->text, "%.15s", type);
}

/* Checks one word against the spectra of all ranks; words in `known` are valid even if no spectrum has that type. */
static syz_status check_word(ingest *g, const char *key, const char *word, bool is_spectype, const char *const *known)
{
  syz_status st = SYZ_OK;
  nearest_type n, *all = syz_alloc("types", (size_t)g->size, sizeof *all);
  SYZ_TRY_ALL(g->world, all ? SYZ_OK : SYZ_ERR_MEMORY);
  memset(&n, 0, sizeof n);
  n.distance = 1000;
  for (const char *const *k = known; *k; k++) take_type(&n, word, *k);
  for (int64_t s = 0; s < g->n_spectra && n.distance; s++) {
    const char *type = type_of(&ingest_spectrum_at(g, s)->info, is_spectype);
    if (type[0]) take_type(&n, word, type);
  }
  syz_allgather(g->world, &n, all, sizeof n);
  for (int r = 0; r < g->size; r++) take_type(&n, word, all[r].text);
  SYZ_TRY_ALL(g->world,
              !n.distance ? SYZ_OK
                          : syz_error_set(SYZ_ERR_DATA, __FILE__, __LINE__,
                                          "%s: no spectrum has the type '%s'; the nearest is '%s'", key, word, n.text));
cleanup:
  syz_free(&all);
  return st;
}

static syz_status check_words(ingest *g, const char *key, syz_texts words, bool is_spectype, const char *const *known)
{
  syz_status st = SYZ_OK;
  /* Any spectrum, any with a type, and the first file with a spectrum. */
  int64_t any[2] = {g->n_spectra > 0, 0}, first = g->n_spectra ? ingest_spectrum_at(g, 0)->file : g->n_files;
  if (!words.n) return SYZ_OK;
  for (int64_t s = 0; s < g->n_spectra && !any[1]; s++)
    any[1] = type_of(&ingest_spectrum_at(g, s)->info, is_spectype)[0] != 0;
  syz_allreduce_i64(g->world, any, 2, SYZ_MAX);
  syz_allreduce_i64(g->world, &first, 1, SYZ_MIN);
  if (!any[0]) return SYZ_OK;
  SYZ_REQUIRE(any[1], SYZ_ERR_DATA, "%s: no file states the type of its spectra; the first file is %s", key,
              g->file[first].path);
  for (int i = 0; i < words.n; i++) SYZ_TRY(check_word(g, key, words.item[i], is_spectype, known));
cleanup:
  return st;
}

syz_status ingest_check_types(ingest *g)
{
  static const char *const objects[] = {"TGT", "SKY", "BAD", NULL}, *const spectra[] = {"GALAXY", "QSO", "STAR", NULL};
  syz_status st = SYZ_OK;
  SYZ_TRY(check_words(g, "ingest.objtype", g->options.objtype, false, objects));
  SYZ_TRY(check_words(g, "ingest.spectype", g->options.spectype, true, spectra));
cleanup:
  return st;
}

/* ------------------------------------------------------- numbers for none */

/* Compared in float32, as most columns are: -9.999 of a double column then matches too. */
static double clear(const ingest_sentinels *s, double v)
{
  for (int i = 0; i < s->n; i++)
    if ((float)v == s->value[i]) return (double)NAN;
  return v;
}

double ingest_clear_redshift(const ingest *g, double z) { return clear(&g->no_redshift, z); }

void ingest_clear_labels(const ingest *g, double *label, int64_t *n)
{
  for (int k = 0; k < g->n_labels; k++) {
    double v = clear(k ? &g->no_value : &g->no_redshift, label[k]);
    *n += isnan(v) && !isnan(label[k]);
    label[k] = v;
  }
}
