/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The rows of a DINOv2 step on a rank: their places and their targets.
 *
 * A rank's objects go through the networks in passes (include/syzygy/plan.h). Chosen tokens of a pass are ordered as
 * [class tokens of global crop 0 of its objects, of crop 1, ..., of local crops, masked patches], pass after pass; with
 * a separate head, masked patches of all passes come after all class tokens. So the rows that a head projects in a pass
 * are contiguous, and so are those of a leaf. The teacher's rows are all class tokens, then all masked patches. Weights
 * of rows, with B the global batch and pairs = G (G - 1) + max(L G, 1): DINO 1 / (B pairs): mean over the batch of each
 * pair of crops. A global crop is never compared with itself. iBOT 1 / (masked patches of its crop * G B): the
 * published weight is 1 / masked in a mean over crops, times 1/2, for 2 global crops at once.
 */

#include "dino.h"

/* Draws the masks of a pass's global crops; returns the number of masked patches. */
static int64_t draw_masks(dino *d, int64_t step, const dino_pass *p)
{
  const dino_sizes *z = &d->sizes;
  int64_t masked = 0;
  for (int64_t i = p->at * z->crops; i < (p->at + p->n) * z->crops; i++)
    masked += syz_block_mask(&z->masks, d->options.seed, step, z->first * z->crops + i, d->mask + i * z->patches);
  return masked;
}

/* Passes and where their rows begin; a rank without objects has one empty pass. */
static void lay_out_passes(dino *d, int64_t step)
{
  const dino_sizes *z = &d->sizes;
  const int64_t each = z->crops + z->locals;
  const bool is_shared = z->heads == 1;
  int64_t seen = 0, taught = 0;
  d->n_passes =
      d->n > 0 || d->grid->tensor ? z->passes.n : 1; /* all ranks of a tensor group make the same number of passes */
  d->masked = 0;
  for (int64_t k = 0; k < d->n_passes; k++) {
    dino_pass *p = &d->pass[k];
    *p = (dino_pass){.seen = seen, .taught = taught};
    if (d->n > 0) p->n = syz_passes_at(&z->passes, k, &p->at);
    p->masked = draw_masks(d, step, p);
    p->seen_patches = is_shared ? seen + p->n * each : d->n * each + d->masked;
    p->taught_patches = d->n * z->crops + d->masked;
    seen += p->n * each + (is_shared ? p->masked : 0);
    taught += p->n * z->crops;
    d->masked += p->masked;
  }
  SYZ_ASSERT(d->masked <= z->most_masked);
}

static int64_t *begin_row(dino *d, int64_t row, dino_term term, double weight)
{
  int64_t *target = d->target + row * SYZ_TARGETS_PER_ROW;
  for (int i = 0; i < SYZ_TARGETS_PER_ROW; i++) target[i] = -1;
  d->row_weight[row] = (float)weight;
  d->term[row] = (int)term;
  return target;
}

/* The targets of each student row of a pass, and its weight. */
static void make_targets(dino *d, const dino_pass *p)
{
  const dino_sizes *z = &d->sizes;
  const syz_dino_options *o = &d->options;
  const int64_t G = z->crops, L = z->locals, n = p->n;
  const double B = (double)o->global_batch, pairs = (double)(G * (G - 1) + (L * G > 1 ? L * G : 1));
  for (int64_t c = 0; c < G; c++)
    for (int64_t i = 0; i < n; i++) {
      int64_t *target = begin_row(d, p->seen + c * n + i, TERM_GLOBAL, o->dino_weight / (B * pairs));
      for (int64_t t = 0; t < G; t++)
        if (t != c) *target++ = p->taught + t * n + i;
    }
  for (int64_t k = 0; k < n * L; k++) {
    int64_t *target = begin_row(d, p->seen + n * G + k, TERM_LOCAL, o->dino_weight / (B * pairs));
    for (int64_t t = 0; t < G; t++) target[t] = p->taught + t * n + k / L;
  }
  int64_t row = p->seen_patches,
          taught = p->taught_patches - (z->heads == 1 ? 0 : d->n * G); /* a separate head counts them from 0 */
  for (int64_t i = p->at * G; i < (p->at + n) * G; i++) {
    const uint8_t *mask = d->mask + i * z->patches;
    int64_t masked = 0;
    for (int64_t q = 0; q < z->patches; q++) masked += mask[q];
    for (int64_t q = 0; q < masked; q++)
      begin_row(d, row++, TERM_PATCH, o->ibot_weight / ((double)masked * (double)G * B))[0] = taught++;
  }
}

/* Where the rows of each leaf begin, for the losses' sums. */
static void cut_leaves(dino *d, int h)
{
  const dino_sizes *z = &d->sizes;
  dino_head *q = &d->head[h];
  for (int64_t leaf = 0; leaf <= z->leaves; leaf++) {
    const dino_pass *p = leaf < z->leaves && d->n > 0 ? &d->pass[leaf * z->passes.per_leaf] : NULL;
    const int64_t patches = p ? p->taught_patches - d->n * z->crops : d->masked;
    q->leaf_student[leaf] = p ? (h ? p->seen_patches : p->seen) - q->first_student : q->batch.n_student;
    q->leaf_teacher[0][leaf] = h ? patches : p ? p->taught : d->n * z->crops;
    q->leaf_teacher[1][leaf] = patches;
  }
}

/* Each head's rows: all of them, or class tokens and masked patches separately. */
static void share_rows(dino *d)
{
  const dino_sizes *z = &d->sizes;
  const int64_t taught = d->n * z->crops, seen = d->n * (z->crops + z->locals),
                bottleneck = syz_model_get_config(d->student)->dino.bottleneck;
  for (int h = 0; h < z->heads; h++) {
    dino_head *q = &d->head[h];
    syz_distillation_batch *b = &q->batch;
    q->first_student = h ? seen : 0;
    b->n_student = z->heads == 1 ? seen + d->masked : h ? d->masked : seen;
    b->n_teacher[0] = h ? d->masked : taught;
    b->n_teacher[1] = z->heads == 1 ? d->masked : 0;
    b->z_student = d->z + q->first_student * bottleneck;
    b->z_teacher = d->z_teacher + (h ? taught : 0) * bottleneck;
    b->target = d->target + q->first_student * SYZ_TARGETS_PER_ROW;
    b->row_weight = d->row_weight + q->first_student;
    b->term = d->term + q->first_student;
    if (z->leaves > 0) cut_leaves(d, h);
  }
}

void dino_lay_out_rows(dino *d, int64_t step)
{
  lay_out_passes(d, step);
  for (int64_t k = 0; k < d->n_passes; k++) make_targets(d, &d->pass[k]);
  share_rows(d);
}

int64_t dino_choose_rows(dino *d, const dino_pass *p, const syz_crops *c, bool is_student)
{
  const dino_sizes *z = &d->sizes;
  const int64_t extra = 1 + syz_model_get_config(d->student)->image.registers, locals = is_student ? z->locals : 0;
  const int64_t first = is_student ? p->seen : 0;
  int64_t rows = 0, patch = is_student ? p->seen_patches : p->n * z->crops;
  for (int64_t i = 0; i < p->n * z->crops; i++) {
    const uint8_t *mask = d->mask + (p->at * z->crops + i) * z->patches;
    d->row[rows] = syz_crops_row(c, DINO_GLOBAL, i, 0);
    d->place[rows++] = first + i % z->crops * p->n + i / z->crops;
    for (int64_t q = 0; q < z->patches; q++) {
      if (!mask[q]) continue;
      d->row[rows] = syz_crops_row(c, DINO_GLOBAL, i, extra + q);
      d->place[rows++] = patch++;
    }
  }
  for (int64_t i = 0; i < p->n * locals; i++) {
    d->row[rows] = syz_crops_row(c, DINO_LOCAL, i, 0);
    d->place[rows++] = first + p->n * z->crops + i;
  }
  return rows;
}

int64_t dino_rows_of_head(const dino *d, int head, const dino_pass *p, int64_t *first)
{
  const int64_t classes = p->n * (d->sizes.crops + d->sizes.locals);
  *first = head ? p->seen_patches : p->seen;
  return d->sizes.heads == 1 ? classes + p->masked : head ? p->masked : classes;
}
