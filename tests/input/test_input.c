/* SPDX-License-Identifier: BSD-3-Clause */
/** Input files: types and ranges are strict, mistakes are named with file, line and nearest key, the resolved text
 * reads back. */

#include "check.h"
#include "syzygy/input.h"

static const syz_key keys[] = {{"seed", SYZ_KEY_INT, "7", "", 0, 9e15, NULL, 1, "Seed."},
                               {"train.lr", SYZ_KEY_REAL, "1e-4", "", 0, 1, NULL, 1, "Learning rate."},
                               {"train.steps", SYZ_KEY_INT, "100", "steps", 1, 1e9, NULL, 1, "Steps."},
                               {"train.freeze_backbones", SYZ_KEY_BOOL, "true", "", 0, 0, NULL, 1, "Freeze."},
                               {"data.path", SYZ_KEY_LIST, "", "", 0, 0, NULL, 3, "Paths."},
                               {"data.split", SYZ_KEY_CHOICE, "train", "", 0, 0, "train|test|all", 3, "Split."},
                               {"output.dir", SYZ_KEY_TEXT, "", "", 0, 0, NULL, 2, "Folder."},
                               {"model.image.dim", SYZ_KEY_INT, "1024", "", 1, 65536, NULL, 1, "Width."},
                               {NULL, SYZ_KEY_INT, "", "", 0, 0, NULL, 0, NULL}};
static const syz_key *const table[] = {keys};

static syz_status parse(const char *text, syz_input **in)
{
  syz_input_destroy(in);
  CHECK_OK(syz_input_create(table, 1, in));
  return syz_input_parse(*in, "run.yaml", text, strlen(text));
}

int main(void)
{
  syz_input *in = NULL;
  CHECK_OK(parse("", &in));
  CHECK_EQ(syz_input_int(in, "train.steps"), 100);
  CHECK_NEAR(syz_input_real(in, "train.lr"), 1e-4, 0);
  CHECK(!syz_input_is_given(in, "train.lr"));
  CHECK_EQ(syz_input_list_size(in, "data.path"), 0);

  CHECK_OK(parse("seed: 12345678901\ntrain: {lr: 2.5e-3, steps: 7}\ndata:\n  path: [a b.h5, \"c,d\"]\n  split: "
                 "all\nmodel: {image: {dim: 64}}\n",
                 &in));
  CHECK(syz_input_int(in, "seed") == INT64_C(12345678901));
  CHECK_NEAR(syz_input_real(in, "train.lr"), 2.5e-3, 0);
  CHECK_EQ(syz_input_list_size(in, "data.path"), 2);
  CHECK(strcmp(syz_input_list_item(in, "data.path", 1), "c,d") == 0);
  CHECK_EQ(syz_input_int(in, "model.image.dim"), 64);
  CHECK(syz_input_is_given(in, "model.image.dim"));

  char *yaml = syz_input_yaml(in, 0, NULL), *section = syz_input_yaml(in, 0, "model");
  CHECK(section && strcmp(section, "model:\n  image:\n    dim: 64\n") == 0);
  CHECK_OK(parse(yaml, &in)); /* the resolved text is an input with the same values */
  char *again = syz_input_yaml(in, 0, NULL);
  CHECK(strcmp(yaml, again) == 0);
  syz_free(&yaml);
  syz_free(&section);
  syz_free(&again);

  CHECK_ERROR(parse("train:\n  stepz: 7\n", &in), SYZ_ERR_INPUT,
              "run.yaml:2: unknown key \"train.stepz\"; the nearest known one is \"train.steps\"");
  CHECK_ERROR(parse("data:\n  lr: 1\n", &in), SYZ_ERR_INPUT, "\"train.lr\"");
  CHECK_ERROR(parse("trian:\n  lr: 1\n", &in), SYZ_ERR_INPUT, "run.yaml:1: unknown section \"trian\"");
  CHECK_ERROR(parse("seed: 1\ntrain: {lr: 0.1}\nseed: 2\n", &in), SYZ_ERR_INPUT,
              "run.yaml:3: key \"seed\" is repeated; it is given in line 1");
  CHECK_ERROR(parse("train: {lr: 0.1}\ntrain: {steps: 2}\n", &in), SYZ_ERR_INPUT, "section \"train\" is repeated");
  /* A zero byte in a quoted text would hide what is behind it. */
  CHECK_ERROR(parse("train:\n  steps: \"5\\0junk\"\n", &in), SYZ_ERR_INPUT, "run.yaml:2: a zero byte");
  CHECK_ERROR(parse("data:\n  path: [a, \"b\\x00c\"]\n", &in), SYZ_ERR_INPUT, "run.yaml:2: a zero byte");
  CHECK_ERROR(parse("\"seed\\0s\": 5\n", &in), SYZ_ERR_INPUT, "run.yaml:1: a zero byte");
  const char *bad_int[] = {"1e3", "10x", "1_000", "1.5", "0x10", "", "nan", "99999999999999999999", "0", "2000000000"};
  for (size_t i = 0; i < sizeof bad_int / sizeof *bad_int; i++) {
    char text[64];
    snprintf(text, sizeof text, "train:\n  steps: %s\n", bad_int[i]);
    CHECK_ERROR(parse(text, &in), SYZ_ERR_INPUT, "run.yaml:2: train.steps");
  }
  const char *bad_real[] = {"1e-3x", "1,5", "nan", "inf", "0x1p3", "", "-0.1", "1e999", "true"};
  for (size_t i = 0; i < sizeof bad_real / sizeof *bad_real; i++) {
    char text[64];
    snprintf(text, sizeof text, "train:\n  lr: %s\n", bad_real[i]);
    CHECK_ERROR(parse(text, &in), SYZ_ERR_INPUT, "run.yaml:2: train.lr");
  }
  CHECK_ERROR(parse("train: {freeze_backbones: yes}\n", &in), SYZ_ERR_INPUT, "neither true nor false");
  CHECK_ERROR(parse("data: {split: al}\n", &in), SYZ_ERR_INPUT, "train|test|all");
  CHECK_ERROR(parse("train: 5\n", &in), SYZ_ERR_INPUT, "is a section");
  CHECK_ERROR(parse("seed: {a: 5}\n", &in), SYZ_ERR_INPUT, "seed");
  CHECK_ERROR(parse("seed: [1, 2]\n", &in), SYZ_ERR_INPUT, "single value");
  CHECK_ERROR(parse("seed: *x\n", &in), SYZ_ERR_INPUT, "run.yaml:1");
  CHECK_ERROR(parse("data: {path: [{a: b}]}\n", &in), SYZ_ERR_INPUT, "plain texts");
  CHECK_ERROR(parse("a: [1, 2\nb: {", &in), SYZ_ERR_INPUT, "run.yaml");
  CHECK_ERROR(parse("- 1\n- 2\n", &in), SYZ_ERR_INPUT, "key: value");
  CHECK_ERROR(parse("seed: 1\n---\nseed: 2\n", &in), SYZ_ERR_INPUT, "second document");
  CHECK_ERROR(parse("\x01\x02\xff\xfe", &in), SYZ_ERR_INPUT, "run.yaml");

  CHECK_OK(parse("seed: 1\n", &in));
  CHECK_OK(syz_input_override(in, "seed=5"));
  CHECK_EQ(syz_input_int(in, "seed"), 5);
  CHECK_ERROR(syz_input_override(in, "seed=6"), SYZ_ERR_INPUT, "set twice");
  CHECK_ERROR(syz_input_override(in, "sead=6"), SYZ_ERR_INPUT, "\"seed\"");
  CHECK_ERROR(syz_input_override(in, "seed"), SYZ_ERR_INPUT, "path.key=value");
  CHECK_ERROR(syz_input_override(in, "train.steps=1e3"), SYZ_ERR_INPUT, "whole number");
  CHECK_OK(syz_input_override(in, "data.path=[x, y.h5]"));
  CHECK_EQ(syz_input_list_size(in, "data.path"), 2);
  CHECK(strcmp(syz_input_list_item(in, "data.path", 0), "x") == 0);
  /* Names with a comma stand in quotation marks, as in the file. */
  const char *const list[] = {"\"x, y\"", "[a b, 'x, y',\"c'd\" , e]", "\" x\",,\"\",y z ", "[]", "[\"x, y]"};
  const char *const items[][5] = {{"x, y"}, {"a b", "x, y", "c'd", "e"}, {" x", "y z"}, {NULL}};
  for (int k = 0; k < 4; k++) {
    CHECK_OK(syz_input_assign(in, "data.path", list[k]));
    for (int i = 0; i < 5; i++) {
      CHECK((i < syz_input_list_size(in, "data.path")) == (items[k][i] != NULL));
      if (items[k][i]) CHECK(strcmp(syz_input_list_item(in, "data.path", i), items[k][i]) == 0);
    }
  }
  CHECK_ERROR(syz_input_assign(in, "data.path", list[4]), SYZ_ERR_INPUT, "around x, y do not enclose");
  CHECK_ERROR(syz_input_assign(in, "data.path", "'x'y"), SYZ_ERR_INPUT, "around x do not enclose");

  syz_input_destroy(&in);
  CHECK_EQ(syz_memory_get().live_blocks, 0);
  return CHECK_RESULT();
}
