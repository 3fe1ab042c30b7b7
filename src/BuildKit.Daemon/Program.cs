Console.Error.WriteLine("buildkitd");
