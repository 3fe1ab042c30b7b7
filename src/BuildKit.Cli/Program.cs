Console.Error.WriteLine("buildctl");
