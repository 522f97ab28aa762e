/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Embeds a data set with a model. Objects are divided by number into blocks of fixed size. Each rank computes a share
 * of the missing blocks, while a read-ahead thread reads their pixels, and stores every finished block at once, so that
 * a repeated command continues with the missing blocks. At the end all ranks write embedding.h5 and embedding.fits
 * together. An object's embedding depends only on the object and the model.
 */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "int8.h"
#include "part.h"
#include "syzygy/catalogue.h"
#include "there.h"
#include "tokens.h"
#include "write.h"

enum { DIGEST_TEXT = 17 };

typedef struct syz_embed job;

struct syz_embed {
  const syz_run *run;
  const syz_embed_options *options;
  syz_comm *comm;
  const char *folder;
  syz_shardset *data;
  syz_compute *compute;
  syz_model *model;
  syz_model_config config;
  bool has_tower[SYZ_MODALITIES];
  int towers;
  bool is_tokens; /* embeddings are of the tokens, without pooling heads */
  int64_t width, batch;
  bool is_int8;
  syz_embed_int8 *int8; /* NULL unless is_int8 */
  char key[DIGEST_TEXT], model_digest[DIGEST_TEXT], data_digest[DIGEST_TEXT];
  uint64_t key_value;
  char *data_path;
};

/* Precision of the products; with int8, of those that are not in int8. */
static const char *precision_name(const job *s)
{
  return syz_compute_act(s->compute) == SYZ_BF16 ? "bfloat16" : "float32";
}

static void digest_text(uint64_t digest, char text[DIGEST_TEXT]) { snprintf(text, DIGEST_TEXT, "%016" PRIx64, digest); }

/* -------------------------------------------------------------- opening */

static const char *split_name(syz_split split)
{
  return split == SYZ_SPLIT_ALL ? "all" : split == SYZ_SPLIT_TRAIN ? "train" : "test";
}

static syz_status open_data(job *s)
{
  syz_status st = SYZ_OK;
  syz_data_options data = s->options->data;
  s->data_path = syz_texts_lines(data.path);
  SYZ_TRY_ALL(s->comm, s->data_path ? SYZ_OK : SYZ_ERR_MEMORY);
  if (data.bad != SYZ_BAD_REFUSED) /* skip objects that are bad in what the towers read */
    data.bad = s->towers == 2            ? SYZ_BAD_SKIPPED
               : s->has_tower[SYZ_IMAGE] ? SYZ_BAD_IMAGES_SKIPPED
                                         : SYZ_BAD_SPECTRA_SKIPPED;
  SYZ_TRY(syz_shardset_open_named(s->comm, &data, "to embed", &s->data));
  SYZ_TRY(syz_shardset_verify_when(s->data, data.verify, s->run->timing));
  SYZ_REQUIRE(syz_shardset_size(s->data) > 0, SYZ_ERR_DATA, "data.path: no object in %s%s (split %s)",
              data.path.item[0], data.path.n > 1 ? " and the others" : "", split_name(data.split));
cleanup:
  return st;
}

/* Digest of everything in the model that the embeddings depend on: configuration and weights of the towers, of their
 * pooling heads where those are used. */
static syz_status model_digest(job *s, uint64_t *digest)
{
  syz_status st = SYZ_OK;
  int n;
  const syz_parameter *p = syz_model_parameters(s->model, &n);
  const float *weights = syz_model_weights(s->model);
  char *yaml = syz_model_config_yaml(&s->config);
  SYZ_REQUIRE(yaml, SYZ_ERR_MEMORY, "no memory for the model's configuration");
  *digest = syz_checksum(yaml, strlen(yaml), 0);
  for (int i = 0; i < n; i++) {
    if (s->is_tokens && p[i].part == syz_part_of(p[i].modality, true)) continue;
    *digest = syz_checksum(p[i].name, strlen(p[i].name), *digest);
    *digest = syz_checksum(weights + p[i].offset, (size_t)p[i].size * sizeof *weights, *digest);
  }
cleanup:
  syz_free(&yaml);
  return st;
}

/* Which towers give embeddings: those with a head, or, by their tokens, all that there are. */
static void count_towers(job *s, const syz_model_parts *parts, bool needs_head)
{
  s->towers = 0;
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) {
    s->has_tower[m] = parts->has[syz_part_of(m, false)] && (!needs_head || parts->has[syz_part_of(m, true)]);
    s->towers += s->has_tower[m];
  }
}

/* Read from the model file which towers there are, and decide how they are pooled. */
static syz_status find_towers(job *s)
{
  syz_status st = SYZ_OK;
  const char *path = s->options->model_file;
  const syz_model_config *c = &s->config;
  syz_model_parts parts;
  if (s->towers) return SYZ_OK;
  SYZ_REQUIRE(*path, SYZ_ERR_INPUT, "model.file: name the model file to embed with");
  SYZ_TRY(syz_model_file_parts(s->comm, path, &s->config, &parts));
  count_towers(s, &parts, true);
  s->is_tokens = s->options->pooling == SYZ_POOLING_TOKENS || (s->options->pooling == SYZ_POOLING_AUTO && !s->towers);
  if (s->is_tokens) count_towers(s, &parts, false);
  SYZ_REQUIRE(s->towers > 0, SYZ_ERR_DATA, "%s: no tower has %s, so there is nothing to embed with", path,
              s->is_tokens ? "a backbone" : "both backbone and head");
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
    if (!s->has_tower[m] && (parts.has[syz_part_of(m, false)] || parts.has[syz_part_of(m, true)]))
      syz_warn("%s: the %s tower has no %s, so it gives no embedding", path, syz_modality_name(m),
               parts.has[syz_part_of(m, false)] ? "head" : "backbone");
  if (!s->is_tokens) {
    s->width = c->embedding.dim;
    goto cleanup;
  }
  const int64_t image = syz_model_width(c, SYZ_IMAGE), spectrum = syz_model_width(c, SYZ_SPECTRUM);
  SYZ_REQUIRE(s->towers < 2 || image == spectrum, SYZ_ERR_INPUT,
              "embed.pooling: the tokens of %s are %" PRId64 " (image) and %" PRId64
              " numbers wide, and embeddings of one file have one width: use the files of the single towers",
              path, image, spectrum);
  SYZ_REQUIRE(!s->options->compute.wants_int8, SYZ_ERR_INPUT,
              "compute.precision: int8 is calibrated on embeddings of pooling heads; %s is embedded by its tokens, in "
              "bfloat16 or float32",
              path);
  s->width = s->has_tower[SYZ_IMAGE] ? image : spectrum;
cleanup:
  return st;
}

static syz_status open_model(job *s)
{
  syz_status st = SYZ_OK;
  const char *path = s->options->model_file;
  const bool wants_int8 = s->options->compute.wants_int8;
  uint64_t digest = 0;
  SYZ_TRY(find_towers(s));
  SYZ_TRY(syz_model_start_compute(s->comm, &s->options->compute, &s->config, false, "", &s->compute));
  SYZ_TRY_ALL(s->comm,
              syz_model_create(&s->config, s->has_tower[SYZ_IMAGE], s->has_tower[SYZ_SPECTRUM], s->compute, &s->model));
  SYZ_TRY(syz_model_file_read(s->comm, path, s->model, s->is_tokens));
  SYZ_TRY_ALL(s->comm, model_digest(s, &digest));
  digest_text(digest, s->model_digest);
  s->is_int8 = wants_int8 && syz_compute_has_int8(s->compute);
  if (wants_int8 && !s->is_int8)
    syz_warn("int8 products need AVX512_VNNI, which this processor lacks: computing in %s", precision_name(s));
cleanup:
  return st;
}

/* The key under which results may be reused: the model, the data and how the results are computed. */
static syz_status make_key(job *s)
{
  syz_status st = SYZ_OK;
  char text[256];
  uint64_t content = 0;
  SYZ_TRY(syz_shardset_content(s->data, &content));
  digest_text(content, s->data_digest);
  snprintf(text, sizeof text, "%s %s %d %d %s %s %s %d", s->model_digest, s->data_digest, (int)s->options->data.split,
           (int)(syz_compute_act(s->compute) == SYZ_BF16), syz_compute_name(s->compute), syz_version(), syz_commit(),
           (int)(s->has_tower[SYZ_IMAGE] + 2 * s->has_tower[SYZ_SPECTRUM]));
  s->key_value = syz_checksum(text, strlen(text), (uint64_t)syz_shardset_size(s->data));
  if (s->is_tokens) s->key_value = syz_checksum("tokens", 6, s->key_value);
  if (s->is_int8) {
    snprintf(text, sizeof text, "int8 %lld %.17g", (long long)s->options->calibration_objects,
             s->options->calibration_cosine);
    s->key_value = syz_checksum(text, strlen(text), s->key_value);
  }
  digest_text(s->key_value, s->key);
cleanup:
  return st;
}

/* Find earlier results of this command in the run folder. Before they are reused, the data must match their checksums.
 * Collective. */
static syz_status look(job *s, syz_embed_there *there)
{
  syz_status st = SYZ_OK;
  SYZ_TRY(syz_embed_look(s->comm, s->folder, s->key, syz_shardset_size(s->data), there));
  if (!there->has_h5 || syz_shardset_is_verified(s->data) || s->options->data.verify == SYZ_VERIFY_NEVER) goto cleanup;
  syz_info("%s/embedding.h5 exists; verifying the checksums of the data", s->folder);
  SYZ_TRY(syz_shardset_verify(s->data));
cleanup:
  return st;
}

/* ------------------------------------------------------------- computing */

/* This rank's share of the missing blocks, in steps of `group` blocks. */
typedef struct share {
  const int64_t *block; /* [n_blocks] */
  int64_t n_blocks, group, steps;
  int64_t *row;  /* [steps * group * SYZ_EMBED_BLOCK] objects in order; the last one repeated to fill the last step */
  float *result; /* [group * SYZ_EMBED_BLOCK, towers, E] */
  float *embedding; /* [batch, E] */
  syz_embed_tokens tokens;
  syz_loader *loader;
} share;

static syz_status share_make(job *s, syz_embed_part *part, const int64_t *missing, int64_t n_missing, share *h)
{
  syz_status st = SYZ_OK;
  int64_t first, n = 0;
  syz_share(n_missing, syz_comm_size(s->comm), syz_comm_rank(s->comm), &first, &h->n_blocks);
  h->block = missing + first;
  h->group = (s->batch + SYZ_EMBED_BLOCK - 1) / SYZ_EMBED_BLOCK;
  if (h->group > h->n_blocks) h->group = h->n_blocks ? h->n_blocks : 1;
  h->steps = (h->n_blocks + h->group - 1) / h->group;
  int64_t step_rows = h->group * SYZ_EMBED_BLOCK;
  SYZ_ALLOC(h->row, "objects to embed", h->steps * step_rows);
  SYZ_ALLOC(h->result, "results", step_rows * s->towers * s->width);
  SYZ_ALLOC(h->embedding, "embeddings", s->batch * s->width);
  if (s->is_tokens) SYZ_TRY(syz_embed_tokens_make(s->model, s->has_tower, s->batch, &h->tokens));
  for (int64_t b = 0; b < h->n_blocks; b++) {
    int64_t row, count;
    syz_embed_part_block(part, h->block[b], &row, &count);
    for (int64_t i = 0; i < count; i++) h->row[n++] = row + i;
  }
  for (; n && n < h->steps * step_rows; n++) h->row[n] = h->row[n - 1];
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
    if (s->has_tower[m]) {
      SYZ_TRY(syz_tower_plan(s->model, m, s->batch < n ? s->batch : n, SYZ_MODE_EMBED));
      if (s->int8) SYZ_TRY(syz_embed_int8_apply(s->int8, s->model, m));
    }
  if (!n) goto cleanup;
  syz_loader_config config = {
      .sampler = {.n = n, .global_batch = step_rows},
      .subset = h->row,
      .count = step_rows,
      .last_step = h->steps,
      .image_size = s->has_tower[SYZ_IMAGE] ? s->config.image.size : 0,
      .wants_flux = s->has_tower[SYZ_SPECTRUM],
      .ahead = 1,
  };
  SYZ_TRY(syz_loader_create(s->data, &config, &h->loader));
cleanup:
  return st;
}

static void share_free(share *h)
{
  syz_loader_destroy(&h->loader);
  syz_free(&h->row);
  syz_free(&h->result);
  syz_free(&h->embedding);
  syz_embed_tokens_free(&h->tokens);
}

/* One tower over a step's objects; those that lack the modality get NaN without computing. `slot`: the tower's place in
 * a result row. */
static syz_status run_tower(job *s, share *h, syz_modality m, int slot, const syz_batch *in, int64_t n)
{
  syz_status st = SYZ_OK;
  const syz_object *object = syz_shardset_objects(s->data);
  const int64_t item = syz_model_input(&s->config, m), width = s->width;
  const float *input = m == SYZ_IMAGE ? in->image : in->flux;
  for (int64_t i = 0; i < n;) {
    int64_t count = 1;
    if (!syz_object_has(&object[in->index[i]], m)) {
      for (int64_t e = 0; e < width; e++) h->result[(i * s->towers + slot) * width + e] = NAN;
      i++;
      continue;
    }
    while (count < s->batch && i + count < n && syz_object_has(&object[in->index[i + count]], m)) count++;
    if (s->is_tokens)
      syz_embed_tokens_forward(&h->tokens, s->model, m, count, input + i * item, h->embedding);
    else
      syz_tower_forward(s->model, m, count, input + i * item, NULL, h->embedding);
    for (int64_t b = 0; b < count; b++) {
      bool is_finite = true;
      for (int64_t e = 0; e < width; e++) is_finite = is_finite && isfinite(h->embedding[b * width + e]);
      SYZ_REQUIRE(is_finite, SYZ_ERR_NUMERIC, "object %lld: its %s embedding is not finite",
                  (long long)object[in->index[i + b]].object_id, syz_modality_name(m));
      memcpy(h->result + ((i + b) * s->towers + slot) * width, h->embedding + b * width, (size_t)width * sizeof(float));
    }
    i += count;
  }
cleanup:
  return st;
}

/* Step `step` of this rank: load, compute, keep. *done += objects. */
static syz_status run_step(job *s, share *h, syz_embed_part *part, int64_t step, int64_t *done)
{
  syz_status st = SYZ_OK;
  syz_timing *timing = s->run->timing;
  syz_batch in;
  double wait_s = 0;
  int64_t n = 0, first, count, b0 = step * h->group, b1 = b0 + h->group < h->n_blocks ? b0 + h->group : h->n_blocks;
  int slot = 0;
  for (int64_t b = b0; b < b1; b++) {
    syz_embed_part_block(part, h->block[b], &first, &count);
    n += count;
  }
  syz_timing_begin(timing, "wait for data");
  st = syz_loader_next(h->loader, &in, &wait_s);
  syz_timing_end(timing);
  SYZ_TRY(st);
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) {
    if (!s->has_tower[m]) continue;
    syz_timing_begin(timing, m == SYZ_IMAGE ? "image tower" : "spectrum tower");
    st = run_tower(s, h, m, slot++, &in, n);
    syz_timing_end(timing);
    SYZ_TRY(st);
  }
  syz_timing_begin(timing, "keep");
  const float *result = h->result;
  for (int64_t b = b0; b < b1 && st == SYZ_OK; b++) {
    syz_embed_part_block(part, h->block[b], &first, &count);
    st = syz_embed_part_put(part, h->block[b], result);
    result += count * s->towers * s->width;
  }
  syz_timing_end(timing);
  SYZ_TRY(st);
  *done += n;
cleanup:
  return st;
}

static int64_t missing_rows(const syz_embed_part *part, const int64_t *missing, int64_t n)
{
  int64_t rows = 0, first, count;
  for (int64_t b = 0; b < n; b++) {
    syz_embed_part_block(part, missing[b], &first, &count);
    rows += count;
  }
  return rows;
}

/* Compute all missing blocks. After each step all ranks agree, count objects and test for stop requests; ranks that are
 * done keep taking part. */
static syz_status compute_missing(job *s, syz_embed_part *part, const int64_t *missing, int64_t n_missing)
{
  syz_status st = SYZ_OK;
  share h = {0};
  syz_progress progress;
  int64_t total = syz_shardset_size(s->data), before = total - missing_rows(part, missing, n_missing), mine = 0;
  if (before) syz_info("%lld of %lld objects were embedded by an earlier run", (long long)before, (long long)total);
  SYZ_TRY_ALL(s->comm, share_make(s, part, missing, n_missing, &h));
  int64_t steps = h.steps;
  syz_allreduce_i64(s->comm, &steps, 1, SYZ_MAX);
  syz_progress_begin(&progress, "embed", "objects", before, total);
  for (int64_t step = 0; step < steps; step++) {
    SYZ_TRY_ALL(s->comm, step < h.steps ? run_step(s, &h, part, step, &mine) : SYZ_OK);
    int64_t now[2] = {syz_stop_asked(s->comm, s->folder), mine};
    syz_allreduce_i64(s->comm, now, 2, SYZ_SUM);
    syz_progress_tell(&progress, before + now[1], NULL);
    if (now[0] && step + 1 < steps) {
      syz_info("stopped (%s): %lld of %lld objects are embedded; the same command continues from there",
               syz_stop_reason(), (long long)(before + now[1]), (long long)total);
      st = SYZ_STOPPED;
      goto cleanup;
    }
  }
  syz_progress_end(&progress, total);
cleanup:
  share_free(&h);
  return st;
}

static syz_status write_files(job *s, syz_embed_part *part)
{
  syz_status st = SYZ_OK;
  syz_embed_result r = {
      .comm = s->comm,
      .data = s->data,
      .part = part,
      .has_tower = {s->has_tower[SYZ_IMAGE], s->has_tower[SYZ_SPECTRUM]},
      .width = s->width,
      .folder = s->folder,
      .created_by = s->run->created_by,
      .input_yaml = s->run->input_yaml,
      .key = s->key,
      .model_digest = s->model_digest,
      .data_digest = s->data_digest,
      .model_file = s->options->model_file,
      .pooling = s->is_tokens ? "tokens" : NULL,
      .precision = s->is_int8 ? "int8" : precision_name(s),
      .engine = syz_compute_name(s->compute),
      .int8 = s->int8 ? syz_embed_int8_text(s->int8) : NULL,
      .split = split_name(s->options->data.split),
      .data_path = s->data_path,
  };
  syz_timing_begin(s->run->timing, "write");
  syz_barrier(s->comm);
  st = syz_embed_write_h5(&r);
  if (st == SYZ_OK) st = syz_embed_write_fits(&r);
  syz_timing_end(s->run->timing);
  return st;
}

static syz_status calibrate(job *s, syz_embed_part *part)
{
  const syz_embed_int8_job work = {.options = s->options,
                                   .comm = s->comm,
                                   .data = s->data,
                                   .model = s->model,
                                   .compute = s->compute,
                                   .has_tower = s->has_tower,
                                   .batch = s->batch};
  syz_timing_begin(s->run->timing, "calibrate");
  syz_status st = syz_embed_int8_make(&work, part, &s->int8);
  syz_timing_end(s->run->timing);
  return st;
}

static void announce(const job *s)
{
  const syz_object *object = syz_shardset_objects(s->data);
  int64_t n = syz_shardset_size(s->data), count[SYZ_MODALITIES] = {0};
  for (int64_t i = 0; i < n; i++)
    for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) count[m] += syz_object_has(&object[i], m);
  syz_info("%lld objects, %lld with an image, %lld with a spectrum", (long long)n, (long long)count[SYZ_IMAGE],
           (long long)count[SYZ_SPECTRUM]);
  syz_info("model %s (digest %s), embeddings %lld wide%s", s->options->model_file, s->model_digest, (long long)s->width,
           !s->is_tokens ? ""
           : s->has_tower[SYZ_IMAGE] && s->config.image.tokens == SYZ_TOKENS_DINOV2
               ? s->towers == 2 ? ": class token of the image tower, mean of the tokens of the spectrum tower"
                                : ": class token of the tower, which is not aligned"
               : ": mean of the tokens of towers that are not aligned");
  syz_compute_tell(s->compute);
  size_t bytes = (size_t)syz_model_size(s->model) * sizeof(float);
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++)
    if (s->has_tower[m]) bytes += syz_tower_plan_bytes(s->model, m, s->batch, SYZ_MODE_EMBED);
  syz_info("%d rank(s), batches of %lld, about %.0f MB per rank", syz_comm_size(s->comm), (long long)s->batch,
           (double)bytes / 1e6);
  for (syz_modality m = SYZ_IMAGE; m < SYZ_MODALITIES; m++) {
    if (!s->has_tower[m])
      syz_info("the model has no %s tower: no %s embeddings", syz_modality_name(m), syz_modality_name(m));
    else if (!count[m])
      syz_warn("no object has %s: that embedding is NaN everywhere", m == SYZ_IMAGE ? "an image" : "a spectrum");
  }
}

/* Which bad objects are skipped depends on the towers, so then the model is opened first; otherwise the data. */
static syz_status open_all(job *s)
{
  syz_status st = SYZ_OK;
  if (s->options->data.bad != SYZ_BAD_REFUSED) SYZ_TRY(find_towers(s));
  SYZ_TRY(open_data(s));
  SYZ_TRY(open_model(s));
cleanup:
  return st;
}

syz_status syz_embed_open(const syz_run *run, const syz_embed_options *options, syz_embed **out)
{
  syz_status st = SYZ_OK;
  *out = NULL;
  job *s = syz_alloc("embed", 1, sizeof *s);
  SYZ_TRY_ALL(run->world, s ? SYZ_OK : SYZ_ERR_MEMORY);
  *s = (job){.run = run, .options = options, .comm = run->world, .folder = run->folder, .batch = options->batch};
  syz_timing_begin(run->timing, "open");
  st = open_all(s);
  syz_timing_end(run->timing);
  SYZ_TRY(st);
  SYZ_TRY(make_key(s));
  announce(s);
  *out = s;
  s = NULL;
cleanup:
  syz_embed_close(&s);
  return st;
}

void syz_embed_close(syz_embed **e)
{
  job *s = *e;
  if (!s) return;
  syz_embed_int8_destroy(&s->int8);
  syz_model_destroy(&s->model);
  syz_compute_destroy(&s->compute);
  syz_shardset_close(&s->data);
  syz_free(&s->data_path);
  syz_free(e);
}

syz_status syz_embed_write(syz_embed *s)
{
  syz_status st = SYZ_OK;
  syz_embed_part *part = NULL;
  syz_embed_there there = {.has_h5 = false};
  const int64_t *missing;
  int64_t n_missing = 0;
  char path[PATH_MAX];
  SYZ_TRY(look(s, &there));
  if (there.has_h5 && there.has_fits) {
    syz_info("%s/embedding.h5 and .fits exist already for this model and data, and their checksums hold: nothing to do",
             s->folder);
    goto cleanup;
  }
  snprintf(path, sizeof path, "%s/embedding.part", s->folder);
  SYZ_TRY(syz_embed_part_open(s->comm, path, s->key_value, syz_shardset_size(s->data),
                              (size_t)(s->towers * s->width) * sizeof(float), &part, &missing, &n_missing));
  if (there.has_h5) {
    SYZ_TRY(syz_embed_take_back(s->comm, s->folder, s->has_tower, s->width, part, missing, n_missing));
    n_missing = 0;
    syz_info("%s/embedding.fits is written again from embedding.h5", s->folder);
  }
  if (s->is_int8) SYZ_TRY(calibrate(s, part));
  if (!there.has_h5) SYZ_TRY(compute_missing(s, part, missing, n_missing));
  SYZ_TRY(write_files(s, part));
  syz_embed_part_remove(&part);
  syz_info("wrote %s/embedding.h5 and embedding.fits", s->folder);
cleanup:
  syz_embed_part_close(&part);
  return st;
}
