/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Operations of a DINOv2 step for one image. Student: forward, and twice that backward, for the part of the blocks that
 * stochastic depth keeps; all patches are embedded, and pixels have no gradient. Teacher: forward on the global crops.
 * Heads: for the class tokens of all crops and the mean number of masked patches.
 */
#include "dino.h"

/* Mean number of rows of an image for a head. */
typedef struct head_rows {
  double student, teacher;
} head_rows;

static double masked_patches(const syz_dino_options *o, const dino_sizes *z)
{
  return (double)(z->crops * z->patches) * o->mask_probability * 0.5 * (o->mask_ratio_min + o->mask_ratio_max);
}

static head_rows rows_of(const dino_sizes *z, int head, double masked)
{
  const double globals = (double)z->crops, all = globals + (double)z->locals;
  if (z->heads == 1) return (head_rows){all + masked, globals + masked};
  return head == 0 ? (head_rows){all, globals} : (head_rows){masked, masked};
}

static void add_teacher(syz_work *w, const dino_sizes *z, const syz_operations *global)
{
  const double crops = (double)z->crops;
  syz_work_add(w, "teacher: patches", SYZ_RATE_DINO, crops * global->embedding, 0, 0);
  syz_work_add(w, "teacher: products of blocks", SYZ_RATE_DINO, crops * global->products, 0, 0);
  syz_work_add(w, "teacher: attention", SYZ_RATE_DINO, crops * global->attention, 0, 0);
}

static void add_student(syz_work *w, const dino_sizes *z, double kept, double recomputed, const syz_operations *global,
                        const syz_operations *local)
{
  const double G = (double)z->crops, L = (double)z->locals, repeated = syz_work_repeated(w);
  const double patches = G * global->embedding + L * local->embedding,
               products = kept * (G * global->products + L * local->products),
               attention = kept * (G * global->attention + L * local->attention);
  syz_work_add(w, "student: patches", SYZ_RATE_DINO, patches, patches, repeated * patches);
  syz_work_add(w, "student: products of blocks", SYZ_RATE_DINO, products, 2 * products,
               (repeated + recomputed) * products);
  syz_work_add(w, "student: attention", SYZ_RATE_DINO, attention, 2 * attention, (repeated + recomputed) * attention);
  w->beside = (patches + (2 + recomputed) * (products + attention)) / (double)w->passes;
}

static void add_heads(syz_work *w, const syz_dino_options *o, const syz_model_config *c, const dino_sizes *z)
{
  const double masked = masked_patches(o, z), mlp = syz_projection_flops(c),
               all = rows_of(z, 0, masked).student + (z->heads > 1 ? masked : 0), taught = (double)z->crops + masked;
  syz_work_add(w, "projection heads", SYZ_RATE_DINO, mlp * (all + taught), 2 * mlp * all,
               syz_work_repeated(w) * mlp * all);
  for (int h = 0; h < z->heads; h++) {
    const syz_distillation_config d = dino_distillation_config(o, c, z, h);
    const head_rows rows = rows_of(z, h, masked);
    const syz_loss_work l = syz_distillation_work(&d, rows.teacher, rows.student);
    syz_work_add_loss(w, h == 0 ? "prototypes" : "prototypes of masked patches", SYZ_RATE_LOSS, &l, 1, false);
  }
  const syz_loss_work koleo = syz_koleo_work(o->global_batch, z->width);
  syz_work_add_loss(w, "KoLeo", SYZ_RATE_F32, &koleo, (double)z->crops, true);
}

/* The imbalance between ranks. */
static void add_spread(syz_work *w, const syz_dino_options *o, const syz_model_config *c, const dino_sizes *z,
                       const syz_operations *global, const syz_operations *local)
{
  const syz_operations *of[DINO_LOCAL + 1] = {global, local};
  const double count[DINO_LOCAL + 1] = {(double)z->crops, (double)z->locals};
  const syz_distillation_config d = dino_distillation_config(o, c, z, z->heads - 1);
  const syz_loss_work row = syz_distillation_work(&d, 1, 1);
  w->drop.kept = 1 - o->drop_rate;
  w->drop.branches = 2 * c->image.depth;
  for (int g = DINO_GLOBAL; g <= DINO_LOCAL; g++)
    if (count[g] > 0)
      w->drop.group[w->drop.n++] =
          (syz_drop_group){count[g], 3 * (of[g]->products + of[g]->attention) / (double)w->drop.branches};
  w->masks.crops = count[DINO_GLOBAL];
  w->masks.probability = o->mask_probability;
  w->masks.ratio_min = o->mask_ratio_min;
  w->masks.ratio_max = o->mask_ratio_max;
  w->masks.patches = (double)z->patches;
  w->masks.operations = row.forward + row.backward + row.again + (4 + syz_work_repeated(w)) * syz_projection_flops(c);
}

void dino_work(const syz_dino_options *o, const dino_sizes *z, const syz_model *student, syz_work *w)
{
  const syz_model_config *c = syz_model_get_config(student);
  const double kept = 1 - o->drop_rate, recomputed = syz_work_recomputed(student, c->image.depth);
  const syz_operations global = syz_crops_operations(c, o->crops.size[DINO_GLOBAL]);
  syz_operations local = {0};
  if (z->locals > 0) local = syz_crops_operations(c, o->crops.size[DINO_LOCAL]);
  syz_work_begin(w, &z->passes, student, true);
  add_teacher(w, z, &global);
  add_student(w, z, kept, recomputed, &global, &local);
  add_heads(w, o, c, z);
  add_spread(w, o, c, z, &global, &local);
  for (int part = 0; part < SYZ_PARTS; part++) w->weights[SYZ_RATE_DINO] += syz_work_elements(student, (syz_part)part);
  w->teacher = w->weights[SYZ_RATE_DINO];
  w->weights[SYZ_RATE_LOSS] = (double)(z->heads * c->dino.prototypes * c->dino.bottleneck);
  w->file_bytes = (double)(SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE) * (double)sizeof(float);
  const int64_t local_side = z->locals > 0 ? o->crops.size[DINO_LOCAL] / c->image.patch : 0,
                extra = 1 + c->image.registers;
  const double rows = kept * (double)(z->crops * (z->patches + extra) + z->locals * (local_side * local_side + extra));
  syz_work_add_group(w, student, SYZ_IMAGE, rows, 1 + syz_work_repeated(w) + recomputed);
}
