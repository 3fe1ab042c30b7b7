using BuildKit.Examples.Llb;
using BuildKit.Llb;

// Prints the definition of one example:
//   dotnet run --project examples/llb -- NAME [IMAGE [ADDRESS]] | buildctl build ...
// IMAGE is any image with a shell (alpine when absent); ADDRESS is the repository of "git".
const string usage = "usage: llb-examples multistage|merge|mounts|git [IMAGE [ADDRESS]] | buildctl build [--local src=.] [--output ...]";

if (args.Length == 0)
{
    Console.Error.WriteLine(usage);
    return 2;
}

var image = State.Image(args.Length > 1 ? args[1] : "alpine");
State? state = args[0] switch
{
    "multistage" => Multistage.Of(image),
    "merge" => MergedStages.Of(image),
    "mounts" => Mounts.Of(image),
    "git" => GitCheckout.Of(image, args.Length > 2 ? args[2] : "https://github.com/octocat/Hello-World.git", "master"),
    _ => null,
};
if (state is null)
{
    Console.Error.WriteLine(usage);
    return 2;
}

await using var output = Console.OpenStandardOutput();
await state.WriteDefinitionAsync(output);
return 0;
