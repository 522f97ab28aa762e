/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tasks on spaces share: opening, the pieces of their JSON and HDF5 files. */
#include "spaces.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "syzygy/json.h"

static syz_status open_all(syz_spaces *s)
{
  syz_status st = SYZ_OK;
  const syz_spaces_options *o = s->options;
  syz_texts files = o->embeddings;
  SYZ_REQUIRE(o->sources.n == 2, SYZ_ERR_INPUT, "analyse.sources: two columns are wanted, not %d", o->sources.n);
  if (!files.n) files = (syz_texts){1, &s->run->folder};
  SYZ_TRY(table_open(s->comm, "analyse.embeddings", files, o->sources, o->seed, "embeddings", &s->now));
  if (o->before.n) SYZ_TRY(table_open(s->comm, "analyse.before", o->before, o->sources, o->seed, "before", &s->before));
  SYZ_TRY_ALL(s->comm, syz_compute_create(SYZ_F32, o->compute.engine, o->compute.threads, &s->compute));
cleanup:
  return st;
}

syz_status syz_spaces_open(const syz_run *run, const syz_spaces_options *options, syz_spaces **out)
{
  syz_status st = SYZ_OK;
  *out = NULL;
  syz_spaces *s = syz_alloc("spaces", 1, sizeof *s);
  SYZ_TRY_ALL(run->world, s ? SYZ_OK : SYZ_ERR_MEMORY);
  *s = (syz_spaces){.run = run, .options = options, .comm = run->world};
  SYZ_TRY(open_all(s));
  *out = s;
  s = NULL;
cleanup:
  syz_spaces_close(&s);
  return st;
}

void syz_spaces_close(syz_spaces **sp)
{
  syz_spaces *s = *sp;
  if (!s) return;
  table_close(&s->now);
  table_close(&s->before);
  syz_compute_destroy(&s->compute);
  syz_free(sp);
}

syz_cca_options spaces_cca_options(const syz_spaces *s, int64_t permutations)
{
  return (syz_cca_options){.tolerance = s->options->rank_tolerance,
                           .scalapack_from = s->options->scalapack_from,
                           .permutations = permutations,
                           .seed = s->options->seed};
}

bool spaces_can_hold_out(const table *t, const syz_cca *all)
{
  const int64_t smaller = t->in_half[0] < t->in_half[1] ? t->in_half[0] : t->in_half[1];
  const int64_t wanted = all->rank[0] + all->rank[1];
  if (all->rows < 5 * wanted)
    syz_warn("%s: %lld objects are few for %lld and %lld dimensions: correlations are large by chance; look at the "
             "held-out ones",
             t->title, (long long)all->rows, (long long)all->rank[0], (long long)all->rank[1]);
  if (smaller > wanted) return true;
  syz_warn("%s: no held-out correlations and nothing that needs them: a half of %lld objects has no more than the %lld "
           "dimensions of both sides; take more objects",
           t->title, (long long)smaller, (long long)wanted);
  return false;
}

/* ------------------------------------------------------------------- JSON */

void json_add_table(cJSON *o, const table *t)
{
  cJSON *files = cJSON_AddArrayToObject(o, "files"), *left = cJSON_AddObjectToObject(o, "left_out");
  for (int i = 0; i < t->set->n_files; i++) cJSON_AddItemToArray(files, cJSON_CreateString(t->set->path[i]));
  cJSON_AddNumberToObject(o, "rows", (double)t->set->rows);
  cJSON_AddNumberToObject(o, "objects", (double)t->total);
  for (int k = 0; k < 2; k++) {
    cJSON *side = cJSON_AddObjectToObject(left, k && !strcmp(t->column[0].name, t->column[1].name) ? "second"
                                                                                                   : t->column[k].name);
    cJSON_AddNumberToObject(side, "missing_or_not_finite", (double)t->left_out[k]);
    cJSON_AddNumberToObject(side, "zero", (double)t->zeros[k]);
  }
}

cJSON *json_begin(const syz_spaces *s, const table *t)
{
  cJSON *root = cJSON_CreateObject(), *sources;
  cJSON_AddStringToObject(root, "created_by", s->run->created_by);
  sources = cJSON_AddArrayToObject(root, "sources");
  for (int k = 0; k < 2; k++) cJSON_AddItemToArray(sources, cJSON_CreateString(t->column[k].name));
  cJSON_AddNumberToObject(root, "seed", (double)s->options->seed);
  return root;
}

syz_status json_write(const syz_spaces *s, const char *name, cJSON *root)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_json_write(s->run->folder, name, root));
  syz_info("wrote %s/%s", s->run->folder, name);
cleanup:
  cJSON_Delete(root);
  return st;
}

/* ------------------------------------------------------------------- HDF5 */

syz_status spaces_create_h5(const syz_spaces *s, const char *name, const char *format, syz_h5 **out)
{
  syz_status st = SYZ_OK;
  char path[4096], *files = NULL;
  const syz_texts all = {s->now->set->n_files, (const char *const *)s->now->set->path};
  SYZ_REQUIRE(snprintf(path, sizeof path, "%s/%s", s->run->folder, name) < (int)sizeof path, SYZ_ERR_WRITE,
              "output.dir: name too long");
  files = syz_texts_lines(all);
  SYZ_TRY_ALL(s->comm, files ? SYZ_OK : SYZ_ERR_MEMORY);
  SYZ_TRY(syz_h5_create(s->comm, path, format, s->run->created_by, s->run->input_yaml, out));
  SYZ_TRY(syz_h5_write_text(*out, "embedding_files", files));
  SYZ_TRY(syz_h5_write_text(*out, "first_source", s->now->column[0].name));
  SYZ_TRY(syz_h5_write_text(*out, "second_source", s->now->column[1].name));
cleanup:
  syz_free(&files);
  return st;
}

syz_status spaces_write_array(const syz_spaces *s, syz_h5 *f, const char *name, int64_t rows, int64_t columns,
                              const double *x, const char *units, const char *description)
{
  const int64_t mine = syz_comm_rank(s->comm) == 0 ? rows : 0;
  return syz_h5_write(f, name, SYZ_H5_F64, rows, columns ? 1 : 0, &columns, 0, mine, x, units, description);
}
