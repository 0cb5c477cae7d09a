// Shared by the fragment shaders of photographs: the images, and where a layer is cut away.
in vec2 t; in float lid; in vec3 c; in vec4 in_other; flat in int k;
uniform sampler2D teeth; uniform sampler2D outer;
uniform float blink;        // 0 open, 1 closed
bool missing() {
    if (k == LASH) return true;     // lashes have no depth and no motion of their own
    if (k == OUTER || k == BACK) return texture(outer, t).a < 0.5;
    return k == CARD && texture(teeth, t).a < 0.5;
}
