// Weights as the kernels read them, and activations as they are multiplied with them.
//
// ROWS rows of a weight matrix form a group; a group holds its blocks of 32 columns one after the other. A
// block begins with its scales and goes on in parts: the four bytes that one instruction multiplies, for all
// rows side by side. A group takes as many bytes as its rows did before.
//
//     Q4_1 block   d[16] m[16] (f16), then 4 x 16 rows x 4 bytes; a byte is a weight of the first half of
//                  the block (low nibble) and one of the second (high nibble), as in ggml
//     Q8_0 block   d[16] (f16), then 8 x 16 rows x 4 bytes
//
// Activations: a tile of `width` columns holds, block by block, scale[width], extra[width], 32 bytes each.

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "vectors.h"

namespace outpost {

constexpr int ROWS = 16;
constexpr int BLOCK = 32;
constexpr size_t PART_BYTES = ROWS * 4;

struct Q4_1 {
    struct Source {  // ggml's block_q4_1
        uint16_t d, m;
        uint8_t bytes[16];
    };
    static constexpr int PARTS = 4;
    static constexpr bool HAS_MINIMUM = true;
    static constexpr size_t HEAD_BYTES = ROWS * 4;
    static constexpr size_t BLOCK_BYTES = HEAD_BYTES + PARTS * PART_BYTES;

    // What a column adds to every row's minimum: the sum of its block.
    static float extra(float scale, int sum) { return scale * float(sum); }
    static void put_head(uint8_t * block, int row, const Source & from) {
        std::memcpy(block + 2 * row, &from.d, 2);
        std::memcpy(block + 2 * ROWS + 2 * row, &from.m, 2);
    }
};

struct Q8_0 {
    struct Source {  // ggml's block_q8_0
        uint16_t d;
        uint8_t bytes[32];
    };
    static constexpr int PARTS = 8;
    static constexpr bool HAS_MINIMUM = false;
    static constexpr size_t HEAD_BYTES = ROWS * 2;
    static constexpr size_t BLOCK_BYTES = HEAD_BYTES + PARTS * PART_BYTES;

    // Weights are multiplied with 128 added to them; this takes it away again.
    static float extra(float, int sum) {
        const int32_t less = -128 * sum;
        float told;
        std::memcpy(&told, &less, 4);
        return told;
    }
    static void put_head(uint8_t * block, int row, const Source & from) {
        std::memcpy(block + 2 * row, &from.d, 2);
    }
};

template <class Format> void interleave(uint8_t * to, const void * data, int64_t rows, int64_t blocks) {
    const auto * from = (const typename Format::Source *) data;
    for (int64_t group = 0; group < rows / ROWS; ++group) {
        for (int64_t b = 0; b < blocks; ++b, to += Format::BLOCK_BYTES) {
            for (int row = 0; row < ROWS; ++row) {
                const auto & block = from[(group * ROWS + row) * blocks + b];
                Format::put_head(to, row, block);
                for (int part = 0; part < Format::PARTS; ++part) {
                    std::memcpy(to + Format::HEAD_BYTES + part * PART_BYTES + row * 4, block.bytes + part * 4, 4);
                }
            }
        }
    }
}

constexpr size_t ACTIVATION_BYTES = 4 + 4 + BLOCK;  // of one column, one block

// One column of a tile: `values` rounded to bytes with one scale for each block, as ggml does it.
template <class Format>
void quantise(uint8_t * tile, int width, int column, const float * values, int64_t blocks) {
    for (int64_t b = 0; b < blocks; ++b, values += BLOCK, tile += ACTIVATION_BYTES * width) {
        __m256 v[4];
        __m256 largest = _mm256_setzero_ps();
        for (int i = 0; i < 4; ++i) {
            v[i] = _mm256_loadu_ps(values + 8 * i);
            largest = _mm256_max_ps(largest, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v[i]));
        }
        __m128 high = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
        high = _mm_max_ps(high, _mm_movehl_ps(high, high));
        const float peak = _mm_cvtss_f32(_mm_max_ss(high, _mm_movehdup_ps(high)));
        const float scale = peak / 127.0f;
        const __m256 inverse = _mm256_set1_ps(peak != 0.0f ? 127.0f / peak : 0.0f);
        __m256i n[4];
        __m256i sums = _mm256_setzero_si256();
        for (int i = 0; i < 4; ++i) {
            n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
            sums = _mm256_add_epi32(sums, n[i]);
        }
        __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
        sum = _mm_add_epi32(sum, _mm_unpackhi_epi64(sum, sum));
        const int total = _mm_cvtsi128_si32(sum) + _mm_extract_epi32(sum, 1);
        const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
        const float extra = Format::extra(scale, total);
        std::memcpy(tile + 4 * column, &scale, 4);
        std::memcpy(tile + 4 * (width + column), &extra, 4);
        _mm256_storeu_si256(
            (__m256i *) (tile + 8 * width + BLOCK * column),
            _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    }
}

}  // namespace outpost
