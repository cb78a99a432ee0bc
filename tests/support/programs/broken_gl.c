/* A libGL.so.1 that has all that rendercheck.py calls, succeeds in everything, and draws nothing. What it does beyond
 * that comes from gcc's command line, as statements: -DON_LOAD=..., -DIN_QUERY=... and -DIN_CREATE=... */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef ON_LOAD
#define ON_LOAD
#endif
#ifndef IN_QUERY
#define IN_QUERY
#endif
#ifndef IN_CREATE
#define IN_CREATE
#endif

/* From libX11, which whoever draws has loaded; 4 is TrueColor. */
int XMatchVisualInfo(void *display, int screen, int depth, int kind, void *info);

static long visual[16];

__attribute__((constructor)) static void load(void) { ON_LOAD; }

int glXQueryExtension(void *display, int *error, int *event) { IN_QUERY; return 1; }
void *glXChooseVisual(void *display, int screen, int *wanted) {
    return XMatchVisualInfo(display, screen, 24, 4, visual) ? visual : NULL;
}
void *glXCreateContext(void *display, void *info, void *shared, int direct) { IN_CREATE; return visual; }
int glXMakeCurrent(void *display, unsigned long drawable, void *context) { return 1; }
int glXIsDirect(void *display, void *context) { return 1; }
void glXSwapBuffers(void *display, unsigned long drawable) {}
const char *glXGetClientString(void *display, int name) { return "broken"; }
const char *glGetString(unsigned name) { return "GeForce of a dream"; }
void glViewport(int x, int y, int width, int height) {}
void glClearColor(float red, float green, float blue, float alpha) {}
void glClear(unsigned mask) {}
void glColor3d(double red, double green, double blue) {}
void glBegin(unsigned mode) {}
void glVertex2d(double x, double y) {}
void glEnd(void) {}
void glFinish(void) {}
void glPixelStorei(unsigned name, int value) {}
void glReadPixels(int x, int y, int width, int height, unsigned format, unsigned type, void *pixels) {}
