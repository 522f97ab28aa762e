/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers of the simulator for test_simulate_reference.py, as raw little-endian arrays.
 *
 *   simulate_driver objects N SEED EMULATOR|- FILE   for each object: model [9250] f32, flux [3] f64, labels f32
 *   simulate_driver labels                           the names of the labels, one a line
 *   simulate_driver bricks N                         number, name, RA and Dec of the first N bricks, one a line
 *   simulate_driver populations FILE                 wave f64, ages f64, age edges f64, log_z f64,
 *                                                    luminosity f32 [5,16,n]
 *   simulate_driver emulator EMULATOR IN OUT         IN: parameters [n,9] f64; OUT: ln luminosity [n,waves] f32
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/app/simulate_emulator.h"
#include "../../src/simulator/emulator.h"
#include "../../src/simulator/simulator.h"
#include "../../src/simulator/stellar.h"

static int fail(void)
{
  fprintf(stderr, "simulate_driver: %s\n", syz_error_text());
  return 1;
}

static int objects(int64_t n, uint64_t seed, const char *emulator_path, FILE *out)
{
  static float model[SYZ_SIM_WAVES];
  syz_sim_config c = syz_sim_config_default();
  syz_emulator *e = NULL;
  syz_simulator *s = NULL;
  c.seed = seed;
  if (strcmp(emulator_path, "-") && syz_emulator_read(emulator_path, &e)) return fail();
  if (syz_simulator_create(&c, e, &s)) return fail();
  for (int64_t i = 0; i < n; i++) {
    syz_sim_object o = {.model = model};
    syz_simulator_make(s, i, &o);
    fwrite(model, sizeof model, 1, out);
    fwrite(o.flux, sizeof o.flux, 1, out);
    fwrite(o.label, sizeof o.label, 1, out);
  }
  syz_simulator_destroy(&s);
  syz_emulator_destroy(&e);
  return 0;
}

static int populations(FILE *out)
{
  syz_stellar *s = NULL;
  if (syz_stellar_create(&s)) return fail();
  fwrite(s->wave_A, sizeof s->wave_A, 1, out);
  fwrite(s->age_gyr, sizeof s->age_gyr, 1, out);
  fwrite(s->age_edge_gyr, sizeof s->age_edge_gyr, 1, out);
  fwrite(s->log_z, sizeof s->log_z, 1, out);
  fwrite(s->luminosity, sizeof *s->luminosity, (size_t)SYZ_STELLAR_METALS * SYZ_STELLAR_AGES * SYZ_STELLAR_PIXELS, out);
  syz_stellar_destroy(&s);
  return 0;
}

static int emulator(const char *path, FILE *in, FILE *out)
{
  syz_emulator *e = NULL;
  double theta[SYZ_EMULATOR_INPUTS];
  if (syz_emulator_read(path, &e)) return fail();
  size_t waves = (size_t)syz_emulator_waves(e);
  float *scratch = calloc(2 * (size_t)syz_emulator_width(e), sizeof(float)), *ln = calloc(waves, sizeof(float));
  while (scratch && ln && fread(theta, sizeof theta, 1, in) == 1) {
    syz_emulator_evaluate(e, theta, scratch, ln);
    fwrite(ln, sizeof(float), waves, out);
  }
  free(scratch);
  free(ln);
  syz_emulator_destroy(&e);
  return 0;
}

int main(int argc, char **argv)
{
  int code = 2;
  FILE *in = NULL, *out = NULL;
  if (argc == 2 && !strcmp(argv[1], "labels")) {
    for (int l = 0; l < SYZ_SIM_LABEL_COUNT; l++) puts(syz_sim_label_name(l));
    return 0;
  }
  if (argc == 3 && !strcmp(argv[1], "bricks")) {
    syz_sim_object o = {0};
    for (int64_t i = 0; i < atoll(argv[2]); i++) {
      syz_simulator_brick(i, &o);
      printf("%d %s %.9f %.9f\n", (int)o.brick_id, o.brick_name, o.brick_ra, o.brick_dec);
    }
    return 0;
  }
  if (argc == 6 && !strcmp(argv[1], "objects") && (out = fopen(argv[5], "wb")))
    code = objects(atoll(argv[2]), (uint64_t)atoll(argv[3]), argv[4], out);
  if (argc == 3 && !strcmp(argv[1], "populations") && (out = fopen(argv[2], "wb"))) code = populations(out);
  if (argc == 5 && !strcmp(argv[1], "emulator") && (in = fopen(argv[3], "rb")) && (out = fopen(argv[4], "wb")))
    code = emulator(argv[2], in, out);
  if (in) fclose(in);
  if (out && fclose(out)) code = 1;
  if (code == 2) fprintf(stderr, "usage: see the top of simulate_driver.c\n");
  return code;
}
