// The kernels: the rows of one register times the columns of one tile.
//
// All sums of a row and a column are made in the same order, whatever the tile's width, so an answer does not
// depend on what else is in the batch.

#pragma once

#include "formats.h"

namespace outpost {

// The products of one block, as whole numbers. `values` are the tile's columns, 8 x 4 bytes each.
template <int WIDTH>
inline void products(Q4_1, Vectors::Ints * dots, const uint8_t * bytes, const float *, const int32_t * values) {
    using V = Vectors;
    for (int c = 0; c < WIDTH; ++c) {
        dots[c] = V::set(0);
    }
#pragma GCC unroll 4
    for (int part = 0; part < Q4_1::PARTS; ++part, bytes += PART_BYTES) {
        const auto both = V::load(bytes);
        const auto low = V::low_nibbles(both);
        const auto high = V::high_nibbles(both);
#pragma GCC unroll 8
        for (int c = 0; c < WIDTH; ++c) {
            dots[c] = V::dot_nibbles(dots[c], low, V::set(values[8 * c + part]));
            dots[c] = V::dot_nibbles(dots[c], high, V::set(values[8 * c + 4 + part]));
        }
    }
    for (int c = 0; c < WIDTH; ++c) {
        dots[c] = V::total(dots[c]);
    }
}

template <int WIDTH>
inline void products(Q8_0, Vectors::Ints * dots, const uint8_t * bytes, const float * extras, const int32_t * values) {
    using V = Vectors;
    for (int c = 0; c < WIDTH; ++c) {
        dots[c] = V::set(((const int32_t *) extras)[c]);
    }
#pragma GCC unroll 8
    for (int part = 0; part < Q8_0::PARTS; ++part, bytes += PART_BYTES) {
        const auto weights = V::unsign(V::load(bytes));
#pragma GCC unroll 8
        for (int c = 0; c < WIDTH; ++c) {
            dots[c] = V::dot(dots[c], weights, V::set(values[8 * c + part]));
        }
    }
}

// Writes LANES results to each of `columns`, from `first` on. `row` is 0, or LANES for the second half of a group.
template <class Format, int WIDTH>
void multiply(const uint8_t * weights, int row, const uint8_t * tile, int64_t blocks, float * const * columns,
              int64_t first) {
    using V = Vectors;
    typename V::Floats sums[WIDTH];
    for (int c = 0; c < WIDTH; ++c) {
        sums[c] = V::zero();
    }
    for (int64_t b = 0; b < blocks; ++b, weights += Format::BLOCK_BYTES, tile += ACTIVATION_BYTES * WIDTH) {
        const auto * scales = (const float *) tile;
        const auto * extras = scales + WIDTH;
        typename V::Ints dots[WIDTH];
        products<WIDTH>(Format(), dots, weights + Format::HEAD_BYTES + 4 * row, extras,
                        (const int32_t *) (extras + WIDTH));
        const auto * head = (const uint16_t *) weights + row;
        const auto d = V::halves(head);
#pragma GCC unroll 8
        for (int c = 0; c < WIDTH; ++c) {
            sums[c] = V::multiply_add(V::multiply(d, V::set(scales[c])), V::floats(dots[c]), sums[c]);
        }
        if constexpr (Format::HAS_MINIMUM) {
            const auto m = V::halves(head + ROWS);
#pragma GCC unroll 8
            for (int c = 0; c < WIDTH; ++c) {
                sums[c] = V::multiply_add(m, V::set(extras[c]), sums[c]);
            }
        }
    }
    for (int c = 0; c < WIDTH; ++c) {
        V::store(columns[c] + first + row, sums[c]);
    }
}

// One group of rows times one tile of `width` columns, 1 to MAX_TILE.
template <class Format, int WIDTH = Vectors::MAX_TILE>
void multiply_group(int width, const uint8_t * weights, const uint8_t * tile, int64_t blocks, float * const * columns,
                    int64_t first) {
    if constexpr (WIDTH > 1) {
        if (width < WIDTH) {
            return multiply_group<Format, WIDTH - 1>(width, weights, tile, blocks, columns, first);
        }
    }
    for (int row = 0; row < ROWS; row += Vectors::LANES) {
        multiply<Format, WIDTH>(weights, row, tile, blocks, columns, first);
    }
}

}  // namespace outpost
