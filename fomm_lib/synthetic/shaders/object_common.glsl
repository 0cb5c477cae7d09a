// Shared by the fragment shaders of bodies, animals and vehicles.
// p: position, n: normal, c: position on the undeformed surface (dm); a: albedo (linear), material.
in vec3 p; in vec3 n; in vec3 c; in vec4 a; in vec4 in_light; in vec4 in_other;
uniform sampler3D noise_grid;
uniform float seed;
vec4 noise(vec3 q) { return texture(noise_grid, q / 32.0); }
bool missing() { return false; }
