// A tensor of any dtype and strides, read and written in vectors of the accumulation type with the channels last.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <cstdint>

namespace feature_pyramids {

using torch::headeronly::ScalarType;

struct StridedMap {
  char* data;
  ScalarType dtype;
  int64_t element_size;
  int64_t channel_stride;
  int64_t row_stride;
  int64_t column_stride;

  // A map (channels, height, width) whose dimensions are the last three of the tensor but for `channel_dimension`.
  StridedMap(const torch::stable::Tensor& tensor, int64_t channel_dimension)
      : data(static_cast<char*>(tensor.data_ptr())),
        dtype(tensor.scalar_type()),
        element_size(static_cast<int64_t>(tensor.element_size())),
        channel_stride(tensor.stride(channel_dimension)),
        row_stride(tensor.stride(tensor.dim() - 2)),
        column_stride(tensor.stride(tensor.dim() - 1)) {}

  StridedMap moved(int64_t elements) const {
    StridedMap other = *this;
    other.data += elements * element_size;
    return other;
  }

  char* at(int64_t channel, int64_t row, int64_t column) const {
    return data + (channel * channel_stride + row * row_stride + column * column_stride) * element_size;
  }
};

template <class Function>
void with_element_type(ScalarType dtype, Function function) {
  switch (dtype) {
    case ScalarType::Float:
      return function(float());
    case ScalarType::Double:
      return function(double());
    case ScalarType::BFloat16:
      return function(c10::BFloat16());
    case ScalarType::Half:
      return function(c10::Half());
    default:
      STD_TORCH_CHECK(false, "the operators take float32, float64, bfloat16 and float16 only");
  }
}

template <class T>
bool is_same_type(ScalarType dtype) {
  return dtype == (sizeof(T) == sizeof(double) ? ScalarType::Double : ScalarType::Float);
}

// Copy `channels` x `columns` elements of one row to target[column * pitch + channel].
template <class T>
void load_row(const StridedMap& map, int64_t channels, int64_t row, int64_t column, int64_t columns, T* target, int64_t pitch) {
  with_element_type(map.dtype, [&](auto element) {
    using Element = decltype(element);
    const auto* source = reinterpret_cast<const Element*>(map.at(0, row, column));
    if (map.channel_stride == 1) {
      for (int64_t x = 0; x < columns; ++x) {
        const Element* pixel = source + x * map.column_stride;
        T* packed = target + x * pitch;
        for (int64_t c = 0; c < channels; ++c) packed[c] = static_cast<T>(pixel[c]);
      }
      return;
    }
    constexpr int64_t kBlock = 16;
    for (int64_t first = 0; first < columns; first += kBlock) {
      const int64_t last = first + kBlock < columns ? first + kBlock : columns;
      for (int64_t c = 0; c < channels; ++c) {
        const Element* line = source + c * map.channel_stride;
        for (int64_t x = first; x < last; ++x) target[x * pitch + c] = static_cast<T>(line[x * map.column_stride]);
      }
    }
  });
}

// Copy source[column * pitch + channel] to `channels` x `columns` elements of one row.
template <class T>
void store_row(
    const StridedMap& map, int64_t channels, int64_t row, int64_t column, int64_t columns, const T* source, int64_t pitch) {
  with_element_type(map.dtype, [&](auto element) {
    using Element = decltype(element);
    auto* target = reinterpret_cast<Element*>(map.at(0, row, column));
    if (map.channel_stride == 1) {
      for (int64_t x = 0; x < columns; ++x) {
        Element* pixel = target + x * map.column_stride;
        const T* packed = source + x * pitch;
        for (int64_t c = 0; c < channels; ++c) pixel[c] = static_cast<Element>(packed[c]);
      }
      return;
    }
    constexpr int64_t kBlock = 16;
    for (int64_t first = 0; first < columns; first += kBlock) {
      const int64_t last = first + kBlock < columns ? first + kBlock : columns;
      for (int64_t c = 0; c < channels; ++c) {
        Element* line = target + c * map.channel_stride;
        for (int64_t x = first; x < last; ++x) line[x * map.column_stride] = static_cast<Element>(source[x * pitch + c]);
      }
    }
  });
}

}  // namespace feature_pyramids
