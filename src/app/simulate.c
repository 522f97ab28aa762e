/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `simulate`: a synthetic survey, as shards or as files of a survey.
 *
 * The work is cut into units that do not depend on the ranks: shards of simulate.shard_objects objects, or bricks of
 * 529. One rank makes and writes a whole unit; the ranks agree after each round of units, so that a failure or a
 * request to stop reaches all of them. A unit that already exists from the same input is kept, so the same command
 * continues where it was stopped. An object depends only on the seed and its number.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "app.h"
#include "simulate_emulator.h"
#include "simulate_there.h"
#include "syzygy/data.h"
#include "syzygy/files.h"
#include "syzygy/simulator.h"

#define KEY(name, type, preset, unit, low, high, choices, help)                                                        \
  {                                                                                                                    \
    "simulate." name, type, preset, unit, low, high, choices, SYZ_USED_BY(simulate), help                              \
  }

const syz_key syz_simulate_keys[] = {
    KEY("objects", SYZ_KEY_INT, "2000", "objects", 1, 1.0e8, NULL, "Galaxies to simulate."),
    KEY("output", SYZ_KEY_CHOICE, "shards", "", 0, 0, "shards|survey",
        "Shards in <output.dir>/shards, or files as surveys deliver them in <output.dir>/survey (529 objects per "
        "brick)."),
    KEY("redshift_min", SYZ_KEY_REAL, "0.02", "", 0.002, 0.62, NULL, "Lowest redshift."),
    KEY("redshift_max", SYZ_KEY_REAL, "0.6", "", 0.002, 0.62, NULL, "Highest redshift."),
    KEY("magnitude_limit", SYZ_KEY_REAL, "19.5", "mag", 14, 23, NULL,
        "Faintest r of the flux-limited part (DESI's bright galaxy survey: 19.5)."),
    KEY("lrg_fraction", SYZ_KEY_REAL, "0.3", "", 0, 1, NULL,
        "Share of luminous red galaxies: quiescent, redshift above 0.3, z band brighter than 20.4."),
    KEY("image_noise", SYZ_KEY_REAL, "1", "", 0, 100, NULL,
        "Sky noise of images in units of the Legacy Surveys' noise; 0: none."),
    KEY("spectrum_noise", SYZ_KEY_REAL, "1", "", 0, 100, NULL,
        "Noise of spectra in units of the instrument's noise; 0: none (ivar stays that of 1)."),
    KEY("exposure_s", SYZ_KEY_REAL, "600", "s", 10, 1.0e5, NULL, "Typical effective exposure of a spectrum."),
    KEY("neighbours", SYZ_KEY_REAL, "1", "", 0, 10, NULL,
        "Unrelated stars and galaxies in the images, in units of their density on the sky; 0: none."),
    KEY("artefacts", SYZ_KEY_REAL, "0.03", "", 0, 1, NULL,
        "Share of images with a satellite trail, a bleed trail or a cosmic ray."),
    KEY("emulator", SYZ_KEY_TEXT, "", "HDF5 file", 0, 0, NULL,
        "PROVABGS stellar-population emulator; empty: the built-in stellar populations."),
    KEY("shard_objects", SYZ_KEY_INT, "1000", "objects", 1, 1.0e6, NULL, "Objects in each shard."),
    KEY("segments", SYZ_KEY_BOOL, "true", "", 0, 0, NULL,
        "Write segment maps into the shards (bulge, disk, bar, arms, companion, neighbour, artefact)."),
    {NULL, SYZ_KEY_INT, NULL, NULL, 0, 0, NULL, 0, NULL},
};

enum { BLOCK = 32, IMAGE = SYZ_BANDS * SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE, SEGMENT = SYZ_IMAGE_SIZE * SYZ_IMAGE_SIZE };

typedef struct job {
  syz_app *app;
  bool is_survey, has_segments;
  int64_t objects, unit_objects, units, kept, damaged;
  char *mark; /* text in every unit of this run that identifies its input */
  char folder[3800];
  syz_emulator *emulator;
  syz_simulator *simulator;
  /* Buffers for one block of objects to be written to a shard. */
  syz_object *object; /* [BLOCK] */
  float *image;       /* [BLOCK, 3, 152, 152] */
  float *flux, *ivar; /* [BLOCK, 7781] */
  float *label;       /* [BLOCK, SYZ_SIM_LABEL_COUNT] */
  uint8_t *segment;   /* [BLOCK, 152, 152] */
} job;

static syz_status set_up(job *s)
{
  syz_status st = SYZ_OK;
  const syz_input *in = s->app->input;
  syz_sim_config c = syz_sim_config_default();
  const char *emulator = syz_input_text(in, "simulate.emulator");
  c.seed = (uint64_t)syz_input_int(in, "seed");
  c.redshift_min = syz_input_real(in, "simulate.redshift_min");
  c.redshift_max = syz_input_real(in, "simulate.redshift_max");
  c.magnitude_limit = syz_input_real(in, "simulate.magnitude_limit");
  c.lrg_fraction = syz_input_real(in, "simulate.lrg_fraction");
  c.image_noise = syz_input_real(in, "simulate.image_noise");
  c.spectrum_noise = syz_input_real(in, "simulate.spectrum_noise");
  c.exposure_s = syz_input_real(in, "simulate.exposure_s");
  c.neighbours = syz_input_real(in, "simulate.neighbours");
  c.artefacts = syz_input_real(in, "simulate.artefacts");
  s->is_survey = strcmp(syz_input_text(in, "simulate.output"), "survey") == 0;
  s->has_segments = syz_input_bool(in, "simulate.segments");
  s->objects = syz_input_int(in, "simulate.objects");
  s->unit_objects = s->is_survey ? SYZ_BRICK_CELLS * SYZ_BRICK_CELLS : syz_input_int(in, "simulate.shard_objects");
  s->units = (s->objects + s->unit_objects - 1) / s->unit_objects;
  SYZ_REQUIRE(snprintf(s->folder, sizeof s->folder, "%s/%s", syz_input_text(in, "output.dir"),
                       s->is_survey ? "survey" : "shards") < (int)sizeof s->folder,
              SYZ_ERR_INPUT, "output.dir: name too long");
  if (*emulator) SYZ_TRY(syz_emulator_read(emulator, &s->emulator));
  SYZ_TRY(syz_simulator_create(&c, s->emulator, &s->simulator));
  if (s->is_survey || s->app->is_dry_run) goto cleanup;
  SYZ_ALLOC(s->object, "simulated objects", BLOCK);
  SYZ_ALLOC(s->image, "simulated images", BLOCK * IMAGE);
  SYZ_ALLOC(s->flux, "simulated spectra", BLOCK * SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(s->ivar, "simulated spectra", BLOCK * SYZ_SPECTRUM_PIXELS);
  SYZ_ALLOC(s->label, "simulated labels", BLOCK * SYZ_SIM_LABEL_COUNT);
  if (s->has_segments) SYZ_ALLOC(s->segment, "simulated segments", BLOCK * SEGMENT);
cleanup:
  return st;
}

static void tear_down(job *s)
{
  syz_simulator_destroy(&s->simulator);
  syz_emulator_destroy(&s->emulator);
  syz_free(&s->mark);
  syz_free(&s->object);
  syz_free(&s->image);
  syz_free(&s->flux);
  syz_free(&s->ivar);
  syz_free(&s->label);
  syz_free(&s->segment);
}

static int64_t unit_size(const job *s, int64_t unit)
{
  int64_t left = s->objects - unit * s->unit_objects;
  return left < s->unit_objects ? left : s->unit_objects;
}

static void shard_path(const job *s, int64_t unit, char *path, size_t room)
{
  snprintf(path, room, "%s/simulated-%05lld.h5", s->folder, (long long)unit);
}

/* A brick counts as written once this note exists, because its files appear one after another. */
static void note_path(const job *s, int64_t unit, char *path, size_t room)
{
  snprintf(path, room, "%s/.brick-%05lld", s->folder, (long long)unit);
}

/* An undamaged unit of an earlier run with the same input and the same program is kept. */
static bool is_there(job *s, int64_t unit)
{
  char path[4096];
  bool is_damaged = false, is_kept;
  if (s->is_survey)
    note_path(s, unit, path, sizeof path);
  else
    shard_path(s, unit, path, sizeof path);
  is_kept = s->is_survey ? syz_simulate_has_brick(path, s->folder, s->mark, &is_damaged)
                         : syz_simulate_has_shard(path, s->mark, &is_damaged);
  s->damaged += is_damaged;
  return is_kept;
}

static syz_status write_shard(job *s, int64_t unit)
{
  syz_status st = SYZ_OK;
  syz_shard_writer *w = NULL;
  const char *name[SYZ_SIM_LABEL_COUNT], *units[SYZ_SIM_LABEL_COUNT];
  char path[4096];
  int64_t n = unit_size(s, unit), first = unit * s->unit_objects;
  for (int l = 0; l < SYZ_SIM_LABEL_COUNT; l++) {
    name[l] = syz_sim_label_name(l);
    units[l] = syz_sim_label_unit(l);
  }
  shard_path(s, unit, path, sizeof path);
  SYZ_TRY(syz_shard_writer_create(path, n, SYZ_SIM_LABEL_COUNT, name, units, s->has_segments, syz_app_created_by(),
                                  s->mark, &w));
  for (int64_t begin = 0; begin < n; begin += BLOCK) {
    int64_t count = n - begin < BLOCK ? n - begin : BLOCK;
    syz_timing_begin(&s->app->timing, "simulate");
    for (int64_t i = 0; i < count; i++) {
      syz_sim_object o = {.image = s->image + i * IMAGE,
                          .segment = s->has_segments ? s->segment + i * SEGMENT : NULL,
                          .spectrum = s->flux + i * SYZ_SPECTRUM_PIXELS,
                          .ivar = s->ivar + i * SYZ_SPECTRUM_PIXELS};
      syz_simulator_make(s->simulator, first + begin + i, &o);
      s->object[i] =
          (syz_object){.object_id = o.object_id, .ra = o.ra, .dec = o.dec, .has_image = 1, .has_spectrum = 1};
      memcpy(s->label + i * SYZ_SIM_LABEL_COUNT, o.label, sizeof o.label);
    }
    syz_timing_end(&s->app->timing);
    syz_timing_begin(&s->app->timing, "write");
    st = syz_shard_writer_put(w, begin, count, s->object, s->image, s->flux, s->ivar, s->label, s->segment);
    syz_timing_end(&s->app->timing);
    SYZ_TRY(st);
  }
  syz_timing_begin(&s->app->timing, "write");
  st = syz_shard_writer_publish(&w);
  syz_timing_end(&s->app->timing);
  SYZ_TRY(st);
cleanup:
  syz_shard_writer_discard(&w);
  return st;
}

static syz_status write_brick(job *s, int64_t unit)
{
  syz_status st = SYZ_OK;
  char path[4096];
  syz_survey_files files;
  syz_timing_begin(&s->app->timing, "simulate and write bricks");
  st = syz_simulator_write_survey(s->simulator, unit * s->unit_objects, unit_size(s, unit), s->folder, &files);
  syz_timing_end(&s->app->timing);
  SYZ_TRY(st);
  note_path(s, unit, path, sizeof path);
  SYZ_TRY(syz_simulate_write_note(path, s->folder, s->mark, &files));
cleanup:
  return st;
}

static syz_status write_unit(job *s, int64_t unit)
{
  if (unit >= s->units) return SYZ_OK; /* this rank has no unit in the last round */
  if (is_there(s, unit)) {
    s->kept++;
    return SYZ_OK;
  }
  return s->is_survey ? write_brick(s, unit) : write_shard(s, unit);
}

/* Creates the folder, and refuses shards that this run would not write: they would silently join the data set. */
static syz_status prepare_folder(const job *s)
{
  syz_status st = SYZ_OK;
  char path[4096];
  struct stat info;
  SYZ_TRY(syz_make_own_folder(syz_input_text(s->app->input, "output.dir"), s->is_survey ? "survey" : "shards"));
  if (s->is_survey)
    note_path(s, s->units, path, sizeof path);
  else
    shard_path(s, s->units, path, sizeof path);
  SYZ_REQUIRE(stat(path, &info) != 0, SYZ_ERR_WRITE,
              "%s is left over from a larger run; remove %s or choose another output.dir", path, s->folder);
cleanup:
  return st;
}

static void print_plan(const job *s)
{
  double bytes = s->is_survey ? (double)s->units * 6.0e7 + (double)s->objects * 1.0e5
                              : (double)s->objects * (4.0 * (IMAGE + 2 * SYZ_SPECTRUM_PIXELS + SYZ_SIM_LABEL_COUNT) +
                                                      33.0 + (s->has_segments ? SEGMENT : 0));
  syz_info("%lld galaxies in %lld %s, about %.1f GB, in %s; starlight from %s", (long long)s->objects,
           (long long)s->units, s->is_survey ? "bricks" : "shards", bytes * 1e-9, s->folder,
           s->emulator ? syz_input_text(s->app->input, "simulate.emulator") : "the built-in stellar populations");
}

syz_status syz_command_simulate(syz_app *app)
{
  syz_status st = SYZ_OK;
  job work = {.app = app}, *s = &work;
  syz_comm *world = app->world;
  int size = syz_comm_size(world), rank = syz_comm_rank(world);
  syz_progress progress;
  double start = syz_clock_s();
  SYZ_TRY_ALL(world, set_up(s));
  print_plan(s);
  if (app->is_dry_run) goto cleanup;
  SYZ_TRY(syz_app_open_run_folder(app));
  SYZ_TRY_ALL(world, syz_simulate_make_mark(app, &s->mark));
  SYZ_TRY_ALL(world, rank == 0 ? prepare_folder(s) : SYZ_OK);
  syz_progress_begin(&progress, "simulate", "objects", 0, s->objects);
  for (int64_t round = 0; round * size < s->units; round++) {
    SYZ_TRY_ALL(world, write_unit(s, round * size + rank));
    int64_t done = (round + 1) * size * s->unit_objects,
            stop = syz_stop_asked(world, syz_input_text(app->input, "output.dir"));
    if (done > s->objects) done = s->objects;
    syz_progress_tell(&progress, done, NULL);
    syz_allreduce_i64(world, &stop, 1, SYZ_MAX);
    if (stop && done < s->objects) {
      syz_progress_end(&progress, done);
      syz_info("stopped by %s after %lld of %lld objects; the same command continues from there", syz_stop_reason(),
               (long long)done, (long long)s->objects);
      st = SYZ_STOPPED;
      goto cleanup;
    }
  }
  syz_progress_end(&progress, s->objects);
  syz_allreduce_i64(world, &s->kept, 1, SYZ_SUM);
  syz_allreduce_i64(world, &s->damaged, 1, SYZ_SUM);
  if (s->damaged) syz_warn("%lld of an earlier run were damaged and have been made again", (long long)s->damaged);
  if (s->kept) syz_info("%lld of %lld existed already and are kept", (long long)s->kept, (long long)s->units);
  double seconds = syz_clock_s() - start;
  syz_info("%lld objects in %.1f s on %d ranks: %.2f ms per object and rank", (long long)s->objects, seconds, size,
           1e3 * seconds * size / (double)s->objects);
cleanup:
  tear_down(s);
  return st;
}
