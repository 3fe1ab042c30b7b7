using BuildKit.Llb;

namespace BuildKit.Examples.Llb;

/// <summary>
/// Three steps that know nothing of each other run side by side; their changes are laid over one image without copying. A change in one
/// leaves the layers of the others as they are.
/// </summary>
internal static class MergedStages
{
    public static State Of(State image)
    {
        State Changes(string name) => State.Diff(
            image,
            image.RunShell($"mkdir -p /opt/{name} && echo {name} > /opt/{name}/installed", OpConstraints.None.WithCustomName($"install {name}")));

        var withoutTemporary = State.Diff(image, image.RunShell("rm -rf /tmp"));
        return State.Merge([image, Changes("one"), Changes("two"), Changes("three"), withoutTemporary]);
    }
}
