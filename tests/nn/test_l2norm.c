/* SPDX-License-Identifier: BSD-3-Clause */
/** L2 normalisation: values, gradient by central differences with teeth, and the clamped rows. */
#include "check.h"
#include "syzygy/nn.h"

enum { ROWS = 7, WIDTH = 33 };

static double loss(const float *x, const float *w, float eps)
{
  float y[ROWS * WIDTH], norm[ROWS];
  double sum = 0.0;
  syz_l2norm_forward(y, norm, x, eps, ROWS, WIDTH);
  for (int i = 0; i < ROWS * WIDTH; i++) sum += (double)y[i] * (double)w[i];
  return sum;
}

static void test_gradient(float eps)
{
  /* Measured: worst 6e-6; the least effect of 1 % is 1e-2, as the direction follows the gradient. */
  const double step = 1e-2, limit = 1e-4;
  for (uint64_t trial = 0; trial < 8; trial++) {
    syz_random r = syz_random_make(5, SYZ_RANDOM_TEST, trial, 0);
    float x[ROWS * WIDTH], w[ROWS * WIDTH], y[ROWS * WIDTH], dx[ROWS * WIDTH], norm[ROWS], moved[ROWS * WIDTH];
    double along = 0.0, size = 0.0, value[4], u[ROWS * WIDTH];
    const double at[4] = {-2.0, -1.0, 1.0, 2.0};
    for (uint32_t i = 0; i < ROWS * WIDTH; i++) {
      x[i] = (float)syz_random_normal(&r, i);
      w[i] = (float)syz_random_normal(&r, 1000 + i);
    }
    syz_l2norm_forward(y, norm, x, eps, ROWS, WIDTH);
    syz_l2norm_backward(dx, w, y, norm, eps, ROWS, WIDTH);
    for (int i = 0; i < ROWS * WIDTH; i++) size += (double)dx[i] * (double)dx[i];
    for (uint32_t i = 0; i < ROWS * WIDTH; i++) {
      u[i] = (double)dx[i] * sqrt(ROWS * WIDTH / size) + 0.5 * syz_random_normal(&r, 2000 + i);
      along += u[i] * (double)dx[i];
    }
    for (int k = 0; k < 4; k++) {
      for (int i = 0; i < ROWS * WIDTH; i++) moved[i] = (float)((double)x[i] + at[k] * step * u[i]);
      value[k] = loss(moved, w, eps);
    }
    double slope = (8.0 * (value[2] - value[1]) - (value[3] - value[0])) / (12.0 * step);
    CHECK_NEAR(along / slope, 1.0, limit);
    CHECK(fabs(1.01 * along / slope - 1.0) > limit);
  }
}

int main(void)
{
  float x[2 * WIDTH], y[2 * WIDTH], norm[2], dx[2 * WIDTH], dy[2 * WIDTH];
  for (int d = 0; d < WIDTH; d++)
    x[d] = (float)(d - 16), x[WIDTH + d] = 0.0f, dy[d] = dy[WIDTH + d] = (float)(d % 3 - 1);
  syz_l2norm_forward(y, norm, x, 1e-12f, 2, WIDTH);
  CHECK_NEAR((double)norm[0], sqrt(2.0 * 16.0 * 17.0 * 33.0 / 6.0), 1e-5); /* sum of squares of -16 .. 16 */
  for (int d = 0; d < WIDTH; d++) {
    CHECK_NEAR((double)y[d], (d - 16) / sqrt(2992.0), 1e-7);
    CHECK_EQ(y[WIDTH + d], 0.0); /* a row of zeros stays one */
  }
  CHECK_EQ(norm[1], 0.0);
  syz_l2norm_backward(dx, dy, y, norm, 1e-12f, 2, WIDTH);
  double across = 0.0;
  for (int d = 0; d < WIDTH; d++) across += (double)dx[d] * (double)x[d];
  CHECK_NEAR(across, 0.0, 1e-6); /* a longer x changes nothing */
  for (int d = 0; d < WIDTH; d++)
    CHECK_NEAR((double)dx[WIDTH + d], (double)dy[WIDTH + d] * 1e12, 1e6); /* clamped: linear */

  test_gradient(1e-12f);
  test_gradient(5.7f);   /* rows of 33 normals have norms about 5.7: some are clamped, some not */
  test_gradient(100.0f); /* all clamped */

  /* Squares that float32 cannot hold. */
  for (int d = 0; d < WIDTH; d++) x[d] = 1e30f, x[WIDTH + d] = 1e-30f;
  syz_l2norm_forward(y, norm, x, 1e-35f, 2, WIDTH);
  for (int d = 0; d < 2 * WIDTH; d++) CHECK_NEAR((double)y[d], 1.0 / sqrt(33.0), 1e-7);
  x[3] = NAN;
  syz_l2norm_forward(y, norm, x, 1e-12f, 2, WIDTH);
  CHECK(isnan(norm[0]) && isnan(y[0]) && !isnan(y[WIDTH]));
  return CHECK_RESULT();
}
