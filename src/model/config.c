/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The `model:` section: its keys, its contradictions, its text, and the sizes that follow from it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "model_impl.h"
#include "syzygy/data.h"

#define EVERY_COMMAND UINT32_MAX

/* Published values: README.md "Image tower", "Spectrum tower". The upper limits only keep products of sizes far from
 * overflow. */
const syz_key syz_model_keys[] = {
    {"model.image.dim", SYZ_KEY_INT, "1024", "", 1, 65536, NULL, EVERY_COMMAND, "Width of the image tower."},
    {"model.image.depth", SYZ_KEY_INT, "24", "", 1, 1024, NULL, EVERY_COMMAND,
     "Transformer blocks of the image tower."},
    {"model.image.heads", SYZ_KEY_INT, "16", "", 1, 1024, NULL, EVERY_COMMAND,
     "Attention heads of the image tower; they divide dim."},
    {"model.image.patch", SYZ_KEY_INT, "12", "pixel", 1, 152, NULL, EVERY_COMMAND, "Side of a patch; it divides size."},
    {"model.image.size", SYZ_KEY_INT, "144", "pixel", 1, 152, NULL, EVERY_COMMAND,
     "Side of the centre crop that the tower sees."},
    {"model.image.tokens", SYZ_KEY_CHOICE, "patches", "", 0, 0, "patches|dinov2", EVERY_COMMAND,
     "patches: no class token and no positions, as AstroCLIP was published; dinov2: both."},
    {"model.image.registers", SYZ_KEY_INT, "0", "", 0, 64, NULL, EVERY_COMMAND,
     "Register tokens after the class token (tokens: dinov2): room for what belongs to no place in the image."},
    {"model.image.layerscale", SYZ_KEY_REAL, "1.0e-5", "", 0, 100, NULL, EVERY_COMMAND,
     "Initial LayerScale; 0: the tower has none."},
    {"model.spectrum.dim", SYZ_KEY_INT, "768", "", 1, 65536, NULL, EVERY_COMMAND, "Width of the spectrum tower."},
    {"model.spectrum.depth", SYZ_KEY_INT, "6", "", 1, 1024, NULL, EVERY_COMMAND,
     "Transformer blocks of the spectrum tower."},
    {"model.spectrum.heads", SYZ_KEY_INT, "6", "", 1, 1024, NULL, EVERY_COMMAND,
     "Attention heads of the spectrum tower; they divide dim."},
    {"model.spectrum.section", SYZ_KEY_INT, "20", "pixel", 1, SYZ_TOWER_PIXELS, NULL, EVERY_COMMAND,
     "Pixels of a section (one token)."},
    {"model.spectrum.overlap", SYZ_KEY_INT, "10", "pixel", 0, SYZ_TOWER_PIXELS, NULL, EVERY_COMMAND,
     "Pixels that neighbouring sections share; less than section."},
    {"model.spectrum.max_tokens", SYZ_KEY_INT, "800", "", 1, 65536, NULL, EVERY_COMMAND,
     "Rows of the table of positions; at least the tokens."},
    {"model.embedding.dim", SYZ_KEY_INT, "1024", "", 1, 65536, NULL, EVERY_COMMAND, "Width of the common embedding."},
    {"model.embedding.heads", SYZ_KEY_INT, "4", "", 1, 64, NULL, EVERY_COMMAND,
     "Attention heads of the pooling; they divide embedding.dim."},
    {"model.embedding.dropout", SYZ_KEY_REAL, "0.1", "", 0, 0.99, NULL, EVERY_COMMAND,
     "Dropout of the pooling heads in training."},
    {"model.dino.layers", SYZ_KEY_INT, "3", "", 1, PROJECTION_LAYERS, NULL, EVERY_COMMAND,
     "Linear layers of a projection head before its prototypes."},
    {"model.dino.hidden", SYZ_KEY_INT, "2048", "", 1, 65536, NULL, EVERY_COMMAND,
     "Width of the hidden layers of a projection head."},
    {"model.dino.bottleneck", SYZ_KEY_INT, "256", "", 1, 65536, NULL, EVERY_COMMAND,
     "Width in which tokens and prototypes are compared."},
    {"model.dino.prototypes", SYZ_KEY_INT, "65536", "", 1, 16777216, NULL, EVERY_COMMAND,
     "Prototypes: outputs of a projection head."},
    {"model.dino.ibot_head", SYZ_KEY_CHOICE, "shared", "", 0, 0, "shared|separate", EVERY_COMMAND,
     "shared: the DINO head projects masked patches too; separate: they have a head of their own."},
    {.path = NULL}};

syz_status syz_model_config_check(const syz_model_config *config)
{
  syz_status st = SYZ_OK;
  const syz_image_config *im = &config->image;
  const syz_spectrum_config *sp = &config->spectrum;
  const syz_embedding_config *em = &config->embedding;
  SYZ_REQUIRE(im->dim >= 1 && im->depth >= 1 && im->heads >= 1 && im->patch >= 1 && im->size >= 1 && sp->dim >= 1 &&
                  sp->depth >= 1 && sp->heads >= 1 && sp->section >= 1 && sp->overlap >= 0 && sp->max_tokens >= 1 &&
                  em->dim >= 1 && em->heads >= 1,
              SYZ_ERR_INPUT, "model: every size must be at least 1");
  SYZ_REQUIRE(im->dim % im->heads == 0, SYZ_ERR_INPUT,
              "model.image.heads = %" PRId64 " does not divide model.image.dim = %" PRId64, im->heads, im->dim);
  SYZ_REQUIRE(im->size % im->patch == 0, SYZ_ERR_INPUT,
              "model.image.patch = %" PRId64 " does not divide model.image.size = %" PRId64, im->patch, im->size);
  SYZ_REQUIRE(sp->dim % sp->heads == 0, SYZ_ERR_INPUT,
              "model.spectrum.heads = %" PRId64 " does not divide model.spectrum.dim = %" PRId64, sp->heads, sp->dim);
  SYZ_REQUIRE(sp->section <= SYZ_TOWER_PIXELS, SYZ_ERR_INPUT,
              "model.spectrum.section = %" PRId64 " is more than the %d pixels of a spectrum", sp->section,
              SYZ_TOWER_PIXELS);
  SYZ_REQUIRE(sp->overlap < sp->section, SYZ_ERR_INPUT,
              "model.spectrum.overlap = %" PRId64 " must be less than model.spectrum.section = %" PRId64, sp->overlap,
              sp->section);
  int64_t tokens = syz_model_tokens(config, SYZ_SPECTRUM);
  SYZ_REQUIRE(tokens <= sp->max_tokens, SYZ_ERR_INPUT,
              "model.spectrum.max_tokens = %" PRId64 " is less than the %" PRId64 " tokens that section = %" PRId64
              " and overlap = %" PRId64 " make",
              sp->max_tokens, tokens, sp->section, sp->overlap);
  SYZ_REQUIRE(em->dim % em->heads == 0, SYZ_ERR_INPUT,
              "model.embedding.heads = %" PRId64 " does not divide model.embedding.dim = %" PRId64, em->heads, em->dim);
  SYZ_REQUIRE(im->registers >= 0 && im->registers <= 64, SYZ_ERR_INPUT,
              "model.image.registers = %" PRId64 " must be 0 to 64", im->registers);
  const syz_dino_config *di = &config->dino;
  SYZ_REQUIRE(di->prototypes == 0 || (di->layers >= 1 && di->layers <= PROJECTION_LAYERS && di->hidden >= 1 &&
                                      di->bottleneck >= 1 && di->prototypes >= 1),
              SYZ_ERR_INPUT, "model.dino: every size must be at least 1, and layers = %" PRId64 " at most %d",
              di->layers, PROJECTION_LAYERS);
  SYZ_REQUIRE(em->dropout >= 0 && em->dropout < 1, SYZ_ERR_INPUT,
              "model.embedding.dropout = %g must be at least 0 and less than 1", em->dropout);
  SYZ_REQUIRE(im->layerscale >= 0 && isfinite(im->layerscale), SYZ_ERR_INPUT,
              "model.image.layerscale = %g must be finite and not negative", im->layerscale);
cleanup:
  return st;
}

syz_status syz_model_config_read(const syz_input *in, syz_model_config *out)
{
  *out = (syz_model_config){
      .image = {.dim = syz_input_int(in, "model.image.dim"),
                .depth = syz_input_int(in, "model.image.depth"),
                .heads = syz_input_int(in, "model.image.heads"),
                .patch = syz_input_int(in, "model.image.patch"),
                .size = syz_input_int(in, "model.image.size"),
                .tokens = strcmp(syz_input_text(in, "model.image.tokens"), "dinov2") == 0 ? SYZ_TOKENS_DINOV2
                                                                                          : SYZ_TOKENS_PATCHES,
                .layerscale = syz_input_real(in, "model.image.layerscale"),
                .registers = syz_input_int(in, "model.image.registers")},
      .spectrum = {.dim = syz_input_int(in, "model.spectrum.dim"),
                   .depth = syz_input_int(in, "model.spectrum.depth"),
                   .heads = syz_input_int(in, "model.spectrum.heads"),
                   .section = syz_input_int(in, "model.spectrum.section"),
                   .overlap = syz_input_int(in, "model.spectrum.overlap"),
                   .max_tokens = syz_input_int(in, "model.spectrum.max_tokens")},
      .embedding = {.dim = syz_input_int(in, "model.embedding.dim"),
                    .heads = syz_input_int(in, "model.embedding.heads"),
                    .dropout = syz_input_real(in, "model.embedding.dropout")},
      .dino = {.layers = syz_input_int(in, "model.dino.layers"),
               .hidden = syz_input_int(in, "model.dino.hidden"),
               .bottleneck = syz_input_int(in, "model.dino.bottleneck"),
               .prototypes = syz_input_int(in, "model.dino.prototypes"),
               .has_ibot_head = strcmp(syz_input_text(in, "model.dino.ibot_head"), "separate") == 0}};
  return syz_model_config_check(out);
}

/* Shortest decimal that reads back as x, always with a point: YAML 1.1 readers such as PyYAML take 1e-05 for text. */
static void real_text(char text[40], double x)
{
  char digits[32];
  for (int precision = 1; precision <= 17; precision++) {
    snprintf(digits, sizeof digits, "%.*g", precision, x);
    if (strtod(digits, NULL) == x) break;
  }
  const char *exponent = strchr(digits, 'e');
  size_t mantissa = exponent ? (size_t)(exponent - digits) : strlen(digits);
  const char *point = strchr(digits, '.') ? "" : ".0";
  snprintf(text, 40, "%.*s%s%s", (int)mantissa, digits, point, exponent ? exponent : "");
}

char *syz_model_config_yaml(const syz_model_config *config)
{
  enum { ROOM = 1024 };
  char *text = syz_alloc("model config text", ROOM, 1), layerscale[40], dropout[40], registers[48] = "", dino[256] = "";
  if (!text) return NULL;
  const syz_image_config *im = &config->image;
  const syz_spectrum_config *sp = &config->spectrum;
  real_text(layerscale, im->layerscale);
  real_text(dropout, config->embedding.dropout);
  /* Written only where they say something, so that a model without them has the text that it always had. */
  if (im->registers > 0) snprintf(registers, sizeof registers, ", registers: %" PRId64, im->registers);
  if (config->dino.prototypes > 0)
    snprintf(dino, sizeof dino,
             "  dino: {layers: %" PRId64 ", hidden: %" PRId64 ", bottleneck: %" PRId64 ", prototypes: %" PRId64
             ", ibot_head: %s}\n",
             config->dino.layers, config->dino.hidden, config->dino.bottleneck, config->dino.prototypes,
             config->dino.has_ibot_head ? "separate" : "shared");
  snprintf(text, ROOM,
           "model:\n"
           "  image: {dim: %" PRId64 ", depth: %" PRId64 ", heads: %" PRId64 ", patch: %" PRId64 ", size: %" PRId64
           ", tokens: %s, layerscale: %s%s}\n"
           "  spectrum: {dim: %" PRId64 ", depth: %" PRId64 ", heads: %" PRId64 ", section: %" PRId64
           ", overlap: %" PRId64 ", max_tokens: %" PRId64 "}\n"
           "  embedding: {dim: %" PRId64 ", heads: %" PRId64 ", dropout: %s}\n"
           "%s",
           im->dim, im->depth, im->heads, im->patch, im->size, im->tokens == SYZ_TOKENS_DINOV2 ? "dinov2" : "patches",
           layerscale, registers, sp->dim, sp->depth, sp->heads, sp->section, sp->overlap, sp->max_tokens,
           config->embedding.dim, config->embedding.heads, dropout, dino);
  return text;
}

const char *syz_modality_name(syz_modality m) { return m == SYZ_IMAGE ? "image" : "spectrum"; }

int64_t syz_model_input(const syz_model_config *config, syz_modality m)
{
  return m == SYZ_IMAGE ? SYZ_BANDS * config->image.size * config->image.size : SYZ_TOWER_PIXELS;
}

int64_t syz_model_width(const syz_model_config *config, syz_modality m)
{
  return m == SYZ_IMAGE ? config->image.dim : config->spectrum.dim;
}

int64_t syz_model_depth(const syz_model_config *config, syz_modality m)
{
  return m == SYZ_IMAGE ? config->image.depth : config->spectrum.depth;
}

bool syz_object_has(const syz_object *o, syz_modality m) { return m == SYZ_IMAGE ? o->has_image : o->has_spectrum; }

int64_t syz_model_tokens(const syz_model_config *config, syz_modality m)
{
  if (m == SYZ_IMAGE) {
    int64_t side = config->image.size / config->image.patch;
    return side * side + (config->image.tokens == SYZ_TOKENS_DINOV2 ? 1 + config->image.registers : 0);
  }
  const syz_spectrum_config *sp = &config->spectrum;
  return (SYZ_TOWER_PIXELS - sp->section) / (sp->section - sp->overlap) +
         2; /* whole sections, and the token of mean and deviation */
}
