"""A test of EGL and Vulkan: draws without an X server, reads the pixels back, and prints which library drew them.

It runs alone, in the target's own interpreter and environment, with the standard library of Python 3.8 or newer:
``python -s -S offscreencheck.py SECONDS egl|vulkan [first|all [WAY]...]``. After SECONDS an alarm ends it. It tries
each WAY, or all that there are: ``device N`` is the device that EGL or Vulkan lists at that place, ``surfaceless`` is
the EGL that needs neither device nor window, and ``gbm FILE`` is EGL on a device file. With ``first``, it ends after
the first one that has drawn.

It prints to standard output, one ``name: value`` line each: ``devices``, a list in JSON; ``ways``, which it will try,
separated by ``|``; and for each of them ``way`` when it begins, then what rendercheck.py prints. If a library crashes
the process, the last ``way`` has no ``result``.

Sources: EGL 1.5 with EGL_EXT_device_enumeration, EGL_EXT_platform_device, EGL_KHR_platform_gbm,
EGL_MESA_platform_surfaceless and EGL_KHR_surfaceless_context; Vulkan 1.0. The numbers are those of <EGL/egl.h>,
<EGL/eglext.h>, <GL/gl.h> and <vulkan/vulkan_core.h>.
"""

from __future__ import annotations

import glob
import json
import os
import signal
import sys
from ctypes import (
    CDLL,
    CFUNCTYPE,
    RTLD_GLOBAL,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_ubyte,
    c_uint32,
    c_uint64,
    c_void_p,
    cast,
    pointer,
    string_at,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SIZE = 64
BACKGROUND, FOREGROUND = (51, 102, 153), (255, 153, 51)
TOLERANCE = 2  # of 255
MAX_DEVICES = 32
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class DrawingError(Exception):
    """A picture that could not be drawn; the arguments are the result and the message."""


def check(what: str, seen: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if any(abs(a - b) > TOLERANCE for a, b in zip(seen, expected)):
        raise DrawingError("wrong pixels", f"{what}: {seen} was read back where {expected} was drawn")


def load(name: str) -> CDLL:
    try:
        return CDLL(name, RTLD_GLOBAL)
    except OSError as error:
        raise DrawingError("no library", str(error)) from error


def decoded(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


# --- EGL

EGL_NONE, EGL_EXTENSIONS, EGL_VENDOR, EGL_VERSION, EGL_DRM_DEVICE_FILE_EXT = 0x3038, 0x3055, 0x3053, 0x3054, 0x3233
EGL_OPENGL_API, EGL_OPENGL_ES_API, EGL_OPENGL_BIT, EGL_OPENGL_ES2_BIT = 0x30A2, 0x30A0, 0x08, 0x04
EGL_RENDERABLE_TYPE, EGL_SURFACE_TYPE, EGL_CONTEXT_CLIENT_VERSION = 0x3040, 0x3033, 0x3098
EGL_PLATFORM_DEVICE, EGL_PLATFORM_GBM, EGL_PLATFORM_SURFACELESS = 0x313F, 0x31D7, 0x31DD
GL_COLOR_BUFFER_BIT, GL_SCISSOR_TEST, GL_RGBA, GL_UNSIGNED_BYTE = 0x4000, 0x0C11, 0x1908, 0x1401
GL_FRAMEBUFFER, GL_RENDERBUFFER, GL_COLOR_ATTACHMENT0, GL_FRAMEBUFFER_COMPLETE = 0x8D40, 0x8D41, 0x8CE0, 0x8CD5
GL_RGBA8, GL_RENDERER, GL_VERSION = 0x8058, 0x1F01, 0x1F02


class Egl:
    """EGL, and the devices that it lists."""

    def __init__(self) -> None:
        self.egl = load("libEGL.so.1")
        for name in "eglGetProcAddress", "eglCreateContext":
            getattr(self.egl, name).restype = c_void_p
        for name in "eglGetError", "eglQueryString":
            getattr(self.egl, name).restype = c_int if name == "eglGetError" else c_char_p
        self.devices: list[Any] = []
        self.described: list[dict[str, Any]] = []
        self._list_devices()

    def function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any] | None:
        """Return an extension's function, or one of OpenGL; None if there is none."""
        address = self.egl.eglGetProcAddress(name.encode())
        return CFUNCTYPE(result, *arguments)(address) if address else None

    def _list_devices(self) -> None:
        query_devices = self.function("eglQueryDevicesEXT", c_int, c_int, c_void_p, c_void_p)
        text = self.function("eglQueryDeviceStringEXT", c_char_p, c_void_p, c_int)
        devices, count = (c_void_p * MAX_DEVICES)(), c_int()
        if query_devices is None or text is None or not query_devices(MAX_DEVICES, devices, byref(count)):
            return
        self.devices = devices[: count.value]
        for device in self.devices:
            extensions = decoded(text(device, EGL_EXTENSIONS)).split()
            file = decoded(text(device, EGL_DRM_DEVICE_FILE_EXT)) if "EGL_EXT_device_drm" in extensions else ""
            self.described.append({"file": file or None, "software": "EGL_MESA_device_software" in extensions})

    def ways(self) -> list[str]:
        nodes = sorted(glob.glob("/dev/dri/renderD*"))
        return [
            *(f"device {number}" for number in range(len(self.devices))),
            "surfaceless",
            *(f"gbm {node}" for node in nodes if os.access(node, os.R_OK | os.W_OK)),
        ]

    def draw(self, way: str) -> dict[str, str]:
        egl = self.egl
        display = self._display(way)
        major, minor = c_int(), c_int()
        if not egl.eglInitialize(display, byref(major), byref(minor)):
            raise DrawingError("no display", f"eglInitialize fails{self._error()}")
        version = f"EGL {major.value}.{minor.value}"
        context = self._context(display)
        # No surface: not every platform has one, but all that are tried here can do without.
        if not egl.eglMakeCurrent(display, None, None, context):
            raise DrawingError("refused", f"eglMakeCurrent fails{self._error()}")
        text = self._gl("glGetString", c_char_p, c_int)
        self._paint()
        return {
            "vendor": decoded(egl.eglQueryString(display, EGL_VENDOR)),
            "renderer": decoded(text(GL_RENDERER)),
            "version": f"{version}, {decoded(text(GL_VERSION))}",
            "direct": "yes",
        }

    def _display(self, way: str) -> c_void_p:
        get_display = self.function("eglGetPlatformDisplayEXT", c_void_p, c_int, c_void_p, c_void_p)
        if get_display is None:
            raise DrawingError("no display", "EGL_EXT_platform_base is missing")
        kind, _, name = way.partition(" ")
        if kind == "device":
            if int(name) >= len(self.devices):
                raise DrawingError("no device", f"EGL lists {len(self.devices)}")
            display = get_display(EGL_PLATFORM_DEVICE, self.devices[int(name)], None)
        elif kind == "gbm":
            gbm = load("libgbm.so.1")
            gbm.gbm_create_device.restype = c_void_p
            device = gbm.gbm_create_device(os.open(name, os.O_RDWR | os.O_CLOEXEC))
            if not device:
                raise DrawingError("no display", "gbm_create_device fails")
            display = get_display(EGL_PLATFORM_GBM, device, None)
        else:
            display = get_display(EGL_PLATFORM_SURFACELESS, None, None)
        if not display:
            raise DrawingError("no display", f"eglGetPlatformDisplay fails{self._error()}")
        return c_void_p(display)

    def _context(self, display: c_void_p) -> c_void_p:
        """Return a context of OpenGL, or else of OpenGL ES."""
        if b"EGL_KHR_surfaceless_context" not in self.egl.eglQueryString(display, EGL_EXTENSIONS).split():
            raise DrawingError("refused", "EGL_KHR_surfaceless_context is missing")
        for api, bit in (EGL_OPENGL_API, EGL_OPENGL_BIT), (EGL_OPENGL_ES_API, EGL_OPENGL_ES2_BIT):
            config, count = c_void_p(), c_int()
            wanted = (c_int * 5)(EGL_SURFACE_TYPE, 0, EGL_RENDERABLE_TYPE, bit, EGL_NONE)
            attributes = (c_int * 3)(*((EGL_CONTEXT_CLIENT_VERSION, 2) if bit == EGL_OPENGL_ES2_BIT else ()), EGL_NONE)
            if not (
                self.egl.eglBindAPI(api)
                and self.egl.eglChooseConfig(display, wanted, byref(config), 1, byref(count))
                and count.value
            ):
                continue
            context = self.egl.eglCreateContext(display, config, None, attributes)
            if context:
                return c_void_p(context)
        raise DrawingError("refused", f"there is no context{self._error()}")

    def _gl(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        found = self.function(name, result, *arguments)
        if found is None:
            raise DrawingError("refused", f"{name} is missing")
        return found

    def _paint(self) -> None:
        """Draw a square on a background into memory of the GPU, and read two pixels back."""
        number = c_uint32()
        for name, target in ("Renderbuffer", GL_RENDERBUFFER), ("Framebuffer", GL_FRAMEBUFFER):
            self._gl(f"glGen{name}s", None, c_int, c_void_p)(1, byref(number))
            self._gl(f"glBind{name}", None, c_int, c_uint32)(target, number)
            if name == "Renderbuffer":
                store = self._gl("glRenderbufferStorage", None, *[c_int] * 4)
                store(target, GL_RGBA8, SIZE, SIZE)
                renderbuffer = number.value
        attach = self._gl("glFramebufferRenderbuffer", None, c_int, c_int, c_int, c_uint32)
        attach(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_RENDERBUFFER, renderbuffer)
        if self._gl("glCheckFramebufferStatus", c_int, c_int)(GL_FRAMEBUFFER) != GL_FRAMEBUFFER_COMPLETE:
            raise DrawingError("refused", "the framebuffer is not complete")
        colour = self._gl("glClearColor", None, *[c_float] * 4)
        clear = self._gl("glClear", None, c_int)
        colour(*(part / 255 for part in BACKGROUND), 1.0)
        clear(GL_COLOR_BUFFER_BIT)
        self._gl("glEnable", None, c_int)(GL_SCISSOR_TEST)
        self._gl("glScissor", None, *[c_int] * 4)(SIZE // 4, SIZE // 4, SIZE // 2, SIZE // 2)
        colour(*(part / 255 for part in FOREGROUND), 1.0)
        clear(GL_COLOR_BUFFER_BIT)
        read = self._gl("glReadPixels", None, *[c_int] * 6, c_void_p)
        for what, place, expected in ("corner", 2, BACKGROUND), ("middle", SIZE // 2, FOREGROUND):
            pixel = (c_ubyte * 4)()
            read(place, place, 1, 1, GL_RGBA, GL_UNSIGNED_BYTE, pixel)
            check(what, tuple(pixel[:3]), expected)

    def _error(self) -> str:
        return f" (EGL error {self.egl.eglGetError():#x})"

    def loader_error(self) -> str:
        """Say why no vendor's library can be loaded: libglvnd doesn't report it."""
        if any("/libEGL_" in path for path in loaded_libraries()):
            return ""
        folders = os.environ.get("__EGL_VENDOR_LIBRARY_DIRS", "/etc/glvnd/egl_vendor.d:/usr/share/glvnd/egl_vendor.d")
        files = os.environ.get("__EGL_VENDOR_LIBRARY_FILENAMES", "").split(":")
        if files == [""]:
            files = [file for folder in folders.split(":") for file in sorted(glob.glob(f"{folder}/*.json"))]
        return "; ".join(filter(None, map(_vendor_error, files)))


def _vendor_error(file: str) -> str:
    try:
        with open(file) as text:
            CDLL(json.load(text)["ICD"]["library_path"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        return str(error)
    return ""


# --- Vulkan

VK_CPU = 4
VK_TYPES = ("other", "integrated GPU", "discrete GPU", "virtual GPU", "CPU")
VK_QUEUE_GRAPHICS_BIT, VK_WHOLE_SIZE, VK_IGNORED = 1, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF
VK_DEVICE_LOCAL, VK_HOST_VISIBLE_COHERENT = 1, 2 | 4
VK_TRANSFER_SRC, VK_TRANSFER_DST = 1, 2
VK_FORMAT_R8G8B8A8_UNORM, VK_IMAGE_TYPE_2D, VK_ASPECT_COLOR, VK_LAYOUT_GENERAL = 37, 1, 1, 1
VK_STAGE_TOP, VK_STAGE_TRANSFER, VK_STAGE_HOST = 0x1, 0x1000, 0x4000
VK_ACCESS_TRANSFER_READ, VK_ACCESS_TRANSFER_WRITE, VK_ACCESS_HOST_READ = 0x800, 0x1000, 0x2000
VK_ERRORS = {
    -1: "VK_ERROR_OUT_OF_HOST_MEMORY",
    -2: "VK_ERROR_OUT_OF_DEVICE_MEMORY",
    -3: "VK_ERROR_INITIALIZATION_FAILED",
    -4: "VK_ERROR_DEVICE_LOST",
    -6: "VK_ERROR_LAYER_NOT_PRESENT",
    -9: "VK_ERROR_INCOMPATIBLE_DRIVER",
}


class VkType(Structure):
    """The head of all structures; the number is their type."""

    number = 0
    _fields_ = [("sType", c_uint32), ("pNext", c_void_p)]

    def __init__(self, **fields: Any) -> None:
        super().__init__(sType=self.number, **fields)


def vk_type(number: int, *fields: tuple[str, Any]) -> Any:
    return type(f"Vk{number}", (VkType,), {"number": number, "_fields_": [*fields]})


def several(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


ApplicationInfo = vk_type(
    0, ("name", c_char_p), ("v", c_uint32), ("engine", c_char_p), ("engineVersion", c_uint32), ("apiVersion", c_uint32)
)
InstanceInfo = vk_type(
    1,
    *[("flags", c_uint32), ("application", c_void_p)],
    *[("layers", c_uint32), ("layerNames", c_void_p), ("extensions", c_uint32), ("extensionNames", c_void_p)],
)
QueueInfo = vk_type(2, *several(c_uint32, "flags family count"), ("priorities", c_void_p))
DeviceInfo = vk_type(
    3,
    *[("flags", c_uint32), ("queues", c_uint32), ("queueInfos", c_void_p), ("layers", c_uint32)],
    *[("layerNames", c_void_p), ("extensions", c_uint32), ("extensionNames", c_void_p), ("features", c_void_p)],
)
SubmitInfo = vk_type(
    4,
    *[("waits", c_uint32), ("waitFor", c_void_p), ("stages", c_void_p), ("commands", c_uint32)],
    *[("commandBuffers", c_void_p), ("signals", c_uint32), ("signalled", c_void_p)],
)
AllocateInfo = vk_type(5, ("size", c_uint64), ("memoryType", c_uint32))
BufferInfo = vk_type(
    12,
    *[("flags", c_uint32), ("size", c_uint64), ("usage", c_uint32), ("sharing", c_uint32), ("families", c_uint32)],
    ("familyNumbers", c_void_p),
)
ImageInfo = vk_type(
    14,
    *several(c_uint32, "flags type format width height depth mips layers samples tiling usage sharing families"),
    *[("familyNumbers", c_void_p), ("layout", c_uint32)],
)
PoolInfo = vk_type(39, *several(c_uint32, "flags family"))
CommandsInfo = vk_type(40, ("pool", c_uint64), *several(c_uint32, "level count"))
BeginInfo = vk_type(42, ("flags", c_uint32), ("inheritance", c_void_p))
RANGE = "aspect firstMip mips firstLayer layers"
ImageBarrier = vk_type(
    45,
    *several(c_uint32, "sourceAccess targetAccess oldLayout newLayout sourceFamily targetFamily"),
    *[("image", c_uint64), *several(c_uint32, RANGE)],
)
MemoryBarrier = vk_type(46, *several(c_uint32, "sourceAccess targetAccess"))


class ImageRange(Structure):
    """VkImageSubresourceRange."""

    _fields_ = several(c_uint32, RANGE)


class Copy(Structure):
    """VkBufferImageCopy."""

    _fields_ = [
        ("offset", c_uint64),
        *several(c_uint32, "rowLength imageHeight aspect mip firstLayer layers"),
        *several(c_int32, "x y z"),
        *several(c_uint32, "width height depth"),
    ]


class Requirements(Structure):
    """VkMemoryRequirements."""

    _fields_ = [("size", c_uint64), ("alignment", c_uint64), ("types", c_uint32)]


class Properties(Structure):
    """VkPhysicalDeviceProperties; the limits and what follows are not looked at."""

    _fields_ = [
        *several(c_uint32, "api driver vendor device type"),
        ("name", c_char * 256),
        ("rest", c_ubyte * 2048),
    ]


def type_of(found: Properties) -> str:
    return VK_TYPES[found.type] if found.type < len(VK_TYPES) else VK_TYPES[0]


class QueueFamily(Structure):
    """VkQueueFamilyProperties."""

    _fields_ = several(c_uint32, "flags count timestampBits width height depth")


class MemoryProperties(Structure):
    """VkPhysicalDeviceMemoryProperties."""

    _fields_ = [("types", c_uint32), ("typeList", c_uint32 * 64), ("heaps", c_uint32), ("heapList", c_uint64 * 32)]


class Vulkan:
    """Vulkan, and the devices that it lists."""

    def __init__(self) -> None:
        self.vk = load("libvulkan.so.1")
        application = ApplicationInfo(name=b"anaheadless", apiVersion=1 << 22)
        self.instance = c_void_p()
        info = InstanceInfo(application=cast(pointer(application), c_void_p))
        self.call("vkCreateInstance", byref(info), None, byref(self.instance))
        count, devices = c_uint32(MAX_DEVICES), (c_void_p * MAX_DEVICES)()
        self.call("vkEnumeratePhysicalDevices", self.instance, byref(count), devices)
        self.devices = [c_void_p(device) for device in devices[: count.value]]
        self.properties = []
        for device in self.devices:
            found = Properties()
            self.vk.vkGetPhysicalDeviceProperties(device, byref(found))
            self.properties.append(found)
        if not self.devices:
            raise DrawingError("no device", "Vulkan lists no device")

    @property
    def described(self) -> list[dict[str, Any]]:
        return [
            {"name": decoded(found.name), "type": type_of(found), "software": found.type == VK_CPU}
            for found in self.properties
        ]

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self.vk, name)(*arguments)
        if status < 0:
            raise DrawingError("refused", f"{name} fails ({VK_ERRORS.get(status, status)})")

    def ways(self) -> list[str]:
        return [f"device {number}" for number in range(len(self.devices))]

    def loader_error(self) -> str:
        return ""  # Vulkan's loader reports it

    def draw(self, way: str) -> dict[str, str]:
        number = int(way.partition(" ")[2])
        found = self.properties[number]
        self._paint(self.devices[number])
        api = f"Vulkan {found.api >> 22 & 0x7F}.{found.api >> 12 & 0x3FF}.{found.api & 0xFFF}"
        return {
            "vendor": f"{found.vendor:#06x}",
            "renderer": decoded(found.name),
            "version": f"{api}, {type_of(found)}",
            "direct": "yes",
        }

    def _paint(self, physical: c_void_p) -> None:
        """Clear an image in memory of the GPU, copy it into memory of the CPU, and look at its first and last pixel."""
        vk, size = self.vk, 4 * SIZE * SIZE
        count, families = c_uint32(32), (QueueFamily * 32)()
        vk.vkGetPhysicalDeviceQueueFamilyProperties(physical, byref(count), families)
        able = (n for n in range(count.value) if families[n].flags & VK_QUEUE_GRAPHICS_BIT)
        family = next(able, None)
        if family is None:
            raise DrawingError("refused", "the device can't draw")
        priority, device, queue = c_float(1.0), c_void_p(), c_void_p()
        queues = QueueInfo(family=family, count=1, priorities=cast(pointer(priority), c_void_p))
        info = DeviceInfo(queues=1, queueInfos=cast(pointer(queues), c_void_p))
        self.call("vkCreateDevice", physical, byref(info), None, byref(device))
        vk.vkGetDeviceQueue(device, family, 0, byref(queue))

        image, buffer = c_uint64(), c_uint64()
        wanted = ImageInfo(
            type=VK_IMAGE_TYPE_2D,
            format=VK_FORMAT_R8G8B8A8_UNORM,
            **dict.fromkeys(("width", "height"), SIZE),
            **dict.fromkeys(("depth", "mips", "layers", "samples"), 1),
            usage=VK_TRANSFER_SRC | VK_TRANSFER_DST,
        )
        self.call("vkCreateImage", device, byref(wanted), None, byref(image))
        self._allocate(physical, device, "Image", image, 0)
        info = BufferInfo(size=size, usage=VK_TRANSFER_DST)
        self.call("vkCreateBuffer", device, byref(info), None, byref(buffer))
        memory = self._allocate(physical, device, "Buffer", buffer, VK_HOST_VISIBLE_COHERENT)

        pool, commands = c_uint64(), c_void_p()
        self.call("vkCreateCommandPool", device, byref(PoolInfo(family=family)), None, byref(pool))
        self.call("vkAllocateCommandBuffers", device, byref(CommandsInfo(pool=pool, count=1)), byref(commands))
        self.call("vkBeginCommandBuffer", commands, byref(BeginInfo(flags=1)))
        whole = {"aspect": VK_ASPECT_COLOR, "mips": 1, "layers": 1}
        barrier = ImageBarrier(
            targetAccess=VK_ACCESS_TRANSFER_WRITE,
            newLayout=VK_LAYOUT_GENERAL,
            sourceFamily=VK_IGNORED,
            targetFamily=VK_IGNORED,
            image=image,
            **whole,
        )
        vk.vkCmdPipelineBarrier(commands, VK_STAGE_TOP, VK_STAGE_TRANSFER, 0, 0, None, 0, None, 1, byref(barrier))
        colour = (c_float * 4)(*(part / 255 for part in FOREGROUND), 1.0)
        vk.vkCmdClearColorImage(commands, image, VK_LAYOUT_GENERAL, colour, 1, byref(ImageRange(**whole)))
        written = MemoryBarrier(sourceAccess=VK_ACCESS_TRANSFER_WRITE, targetAccess=VK_ACCESS_TRANSFER_READ)
        vk.vkCmdPipelineBarrier(commands, VK_STAGE_TRANSFER, VK_STAGE_TRANSFER, 0, 1, byref(written), 0, None, 0, None)
        copied = Copy(aspect=VK_ASPECT_COLOR, layers=1, width=SIZE, height=SIZE, depth=1)
        vk.vkCmdCopyImageToBuffer(commands, image, VK_LAYOUT_GENERAL, buffer, 1, byref(copied))
        read = MemoryBarrier(sourceAccess=VK_ACCESS_TRANSFER_WRITE, targetAccess=VK_ACCESS_HOST_READ)
        vk.vkCmdPipelineBarrier(commands, VK_STAGE_TRANSFER, VK_STAGE_HOST, 0, 1, byref(read), 0, None, 0, None)
        self.call("vkEndCommandBuffer", commands)
        submit = SubmitInfo(commands=1, commandBuffers=cast(pointer(commands), c_void_p))
        self.call("vkQueueSubmit", queue, 1, byref(submit), c_uint64())
        self.call("vkQueueWaitIdle", queue)

        address = c_void_p()
        self.call("vkMapMemory", device, memory, c_uint64(), c_uint64(VK_WHOLE_SIZE), 0, byref(address))
        pixels = string_at(address, size)
        check("first", tuple(pixels[:3]), FOREGROUND)
        check("last", tuple(pixels[-4:-1]), FOREGROUND)

    def _allocate(self, physical: c_void_p, device: c_void_p, kind: str, thing: c_uint64, flags: int) -> c_uint64:
        """Give memory with these *flags* to *thing*."""
        needs, has, memory = Requirements(), MemoryProperties(), c_uint64()
        getattr(self.vk, f"vkGet{kind}MemoryRequirements")(device, thing, byref(needs))
        self.vk.vkGetPhysicalDeviceMemoryProperties(physical, byref(has))
        fitting = (n for n in range(has.types) if needs.types >> n & 1 and has.typeList[2 * n] & flags == flags)
        number = next(fitting, None)
        if number is None:
            raise DrawingError("refused", "there is no memory of the kind that is needed")
        self.call(
            "vkAllocateMemory", device, byref(AllocateInfo(size=needs.size, memoryType=number)), None, byref(memory)
        )
        self.call(f"vkBind{kind}Memory", device, thing, memory, c_uint64())
        return memory


# --- both


def loaded_libraries() -> list[str]:
    """List the libraries in this process."""
    with open("/proc/self/maps", errors="backslashreplace") as maps:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in maps if ".so" in line}
    return sorted(paths)


def tell(name: str, value: str) -> None:
    # At once: what follows may crash.
    print(f"{name}: {' '.join(value.split())}", flush=True)


def main(interface: str, until: str = "all", *ways: str) -> None:
    try:
        drawing: Egl | Vulkan = Egl() if interface == "egl" else Vulkan()
    except DrawingError as failure:
        for name, value in zip(("result", "message"), failure.args):
            tell(name, value)
        return
    tell("devices", json.dumps(drawing.described))
    ways = ways or tuple(drawing.ways())
    tell("ways", "|".join(ways))
    for way in ways:
        tell("way", way)
        try:
            found = {**drawing.draw(way), "result": "drawn"}
        except DrawingError as failure:
            result, message = failure.args
            reason = drawing.loader_error()
            found = {"result": result, "message": "; ".join(filter(None, (message, reason)))}
        for name, value in found.items():
            tell(name, value)
        if until == "first" and found["result"] == "drawn":
            break


if __name__ == "__main__":
    signal.alarm(int(sys.argv[1]))
    CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # once the parent has ended, nobody needs the result
    main(*sys.argv[2:])
    os._exit(0)  # not sys.exit(): a driver's own clean-up may crash after the result has been printed
