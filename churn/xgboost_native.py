"""XGBoost's own C library for scoring, without its Python package.

`import xgboost` brings pandas, scipy and scikit-learn where they are installed: 160 MB and a second that a service
need not pay. And `inplace_predict` spends 150 us a call on checks of types that are always the same here. The
library's results are the same bits (tests/churn/test_xgboost_native.py).

Sources: the C API of XGBoost 3 (c_api.h); numpy's array interface for how rows are passed.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
MARGIN, CONTRIBUTIONS = 1, 2
FEW_ROWS = 64
"""Up to so many rows a call takes under 0.3 ms and keeps the interpreter: giving it up and back costs more."""


class NativeError(ValueError):
    """XGBoost refused: a damaged model, or rows of the wrong width. The sentence is the library's own."""


class NativeBooster:
    """One loaded model. Safe to share between threads; lives as long as the process or its last user."""

    def __init__(self, raw: bytes) -> None:
        """From the bytes of a .ubj file. Raises NativeError when they are no model."""
        self._library = _library()
        self._handle = ctypes.c_void_p()
        self._buffers = threading.local()
        self._call("XGBoosterCreate", None, ctypes.c_uint64(0), ctypes.byref(self._handle))
        self._call("XGBoosterLoadModelFromBuffer", self._handle, raw, ctypes.c_uint64(len(raw)))
        # One thread: a service scores many small batches at once; a pool for each costs more than it gains.
        self._call("XGBoosterSetParam", self._handle, b"nthread", b"1")
        width = ctypes.c_uint64()
        self._call("XGBoosterGetNumFeature", self._handle, ctypes.byref(width))
        self.width = width.value

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.XGBoosterFree(self._handle)

    def save_raw(self, form: Literal["ubj", "json"] = "ubj") -> bytes:
        """The bytes of a .ubj (or .json) file."""
        length, text = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_char)()
        config = b'{"format":"%s"}' % form.encode()
        self._call("XGBoosterSaveModelToBuffer", self._handle, config, ctypes.byref(length), ctypes.byref(text))
        return ctypes.string_at(text, length.value)

    def margins(self, matrix: Matrix) -> NDArray[np.float64]:
        """Log-odds of encoded rows, shape (rows,)."""
        matrix = self._checked(matrix)
        rows = matrix.shape[0]
        if not rows:
            return np.empty(0)
        buffers = self._thread_buffers()
        interface = buffers.interface_of(matrix)
        library = _library_keeping_the_interpreter() if rows <= FEW_ROWS else self._library
        self._check(
            library.XGBoosterPredictFromDense(self._handle, interface, _config(MARGIN), buffers.proxy, *buffers.out)
        )
        if rows <= FEW_ROWS:
            return np.array(buffers.result[:rows], dtype=np.float64)
        return np.ctypeslib.as_array(buffers.result, shape=(rows,)).astype(np.float64)

    def contributions(self, matrix: Matrix) -> NDArray[np.float64]:
        """SHAP contributions in log-odds, shape (rows, width + 1); the last column is the base value."""
        matrix = self._checked(matrix)
        rows = matrix.shape[0]
        buffers = self._thread_buffers()
        data = ctypes.c_void_p()
        config = b'{"missing":NaN,"nthread":1}'
        self._call("XGDMatrixCreateFromDense", _interface(matrix), config, ctypes.byref(data))
        try:
            self._call("XGBoosterPredictFromDMatrix", self._handle, data, _config(CONTRIBUTIONS), *buffers.out)
            flat = np.ctypeslib.as_array(buffers.result, shape=(rows * (self.width + 1),))
            return flat.astype(np.float64).reshape(rows, self.width + 1)
        finally:
            self._call("XGDMatrixFree", data)

    def _checked(self, matrix: Matrix) -> Matrix:
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            raise NativeError(f"rows of shape {matrix.shape}: expected (rows, {self.width})")
        return np.ascontiguousarray(matrix, dtype=np.float32)

    def _thread_buffers(self) -> _Buffers:
        """What a call writes to, one set a thread."""
        try:
            return self._buffers.own  # type: ignore[no-any-return]
        except AttributeError:
            self._buffers.own = buffers = _Buffers(self._library)
            return buffers

    def _call(self, name: str, *arguments: Any) -> None:
        self._check(getattr(self._library, name)(*arguments))

    def _check(self, status: int) -> None:
        if status != 0:
            words = self._library.XGBGetLastError().decode("utf-8", "replace")
            raise NativeError(words.splitlines()[0] if words else "XGBoost failed without a word")


class _Buffers:
    """Where one thread's calls leave their results, and the proxy through which XGBoost sees a thread's rows."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self.proxy = ctypes.c_void_p()
        library.XGProxyDMatrixCreate(ctypes.byref(self.proxy))
        self._shape, self._dimensions = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64()
        self.result = ctypes.POINTER(ctypes.c_float)()
        self.out = ctypes.byref(self._shape), ctypes.byref(self._dimensions), ctypes.byref(self.result)
        self._row: Matrix = np.empty((0, 0), dtype=np.float32)
        self._row_interface = b""

    def __del__(self) -> None:
        self._library.XGDMatrixFree(self.proxy)

    def interface_of(self, matrix: Matrix) -> bytes:
        """The array interface of the rows; a single row is copied to where its interface is known already."""
        if matrix.shape[0] > 1:
            return _interface(matrix)
        if self._row.shape != matrix.shape:
            self._row = np.empty(matrix.shape, dtype=np.float32)
            self._row_interface = _interface(self._row)
        self._row[:] = matrix
        return self._row_interface


def _interface(matrix: Matrix) -> bytes:
    rows, width = matrix.shape
    place = matrix.ctypes.data
    return b'{"data":[%d,true],"shape":[%d,%d],"typestr":"<f4","version":3,"strides":null}' % (place, rows, width)


@functools.cache
def _config(kind: int) -> bytes:
    return (
        b'{"type":%d,"training":false,"iteration_begin":0,"iteration_end":0,"strict_shape":false,'
        b'"missing":NaN,"cache_id":0}' % kind
    )


def _library_path() -> str:
    """The shared library inside the installed package, found without importing the package."""
    spec = importlib.util.find_spec("xgboost")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        for name in ("libxgboost.so", "libxgboost.dylib", "xgboost.dll"):
            if (path := Path(folder) / "lib" / name).is_file():
                return str(path)
    raise NativeError("the library of XGBoost is not installed; install xgboost-cpu")


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(_library_path())
    library.XGBGetLastError.restype = ctypes.c_char_p
    return library


@functools.cache
def _library_keeping_the_interpreter() -> ctypes.PyDLL:
    return ctypes.PyDLL(_library_path())
