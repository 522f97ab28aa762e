/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Test data: a toy sky whose objects have something in common between image and spectrum, so that alignment can be
 * learned from it.
 *
 * Object `object` of seed `seed` is a pure function of the two: redshift z in [0.02, 0.5], colour c in [0, 1],
 * brightness and size. The image is a smooth ellipse whose g, r, z fluxes follow z and c; the spectrum has a continuum
 * that follows c and three emission lines at the redshift z. Both carry noise. Not physics: use the simulator for that.
 */
#pragma once

#include "syzygy/data.h"

/** Labels of a fixture: "redshift", "colour". */
enum { SYZ_FIXTURE_LABELS = 2 };
/** object_id is 39000000000000000 + object (beyond 2^53). Arrays [3,152,152], [7781], [7781], [2]; any may be NULL. */
void syz_fixture_object(uint64_t seed, int64_t object, syz_object *o, float *image, float *flux, float *ivar,
                        float *label);
/** One shard with objects [first, first + n). Rank-local. */
syz_status syz_fixture_shard(const char *path, uint64_t seed, int64_t first, int64_t n);
/** A folder of shards shard-0000.h5 ... of `per_shard` objects, n in all. Rank-local: call on rank 0, then syz_agree or
 * a barrier. */
syz_status syz_fixture_shards(const char *folder, uint64_t seed, int64_t n, int64_t per_shard);
