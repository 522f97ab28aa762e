/* SPDX-License-Identifier: BSD-3-Clause */
/** What a member's random numbers are drawn from. */
#include "internal.h"

/* Members differ in all that is drawn for them, and so do members of other seeds (splitmix64). */
uint64_t syz_perceptron_seed(const syz_perceptron *p, int member)
{
  uint64_t x = p->options.seed + UINT64_C(0x9e3779b97f4a7c15) * ((uint64_t)member + 1);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}
